"""The query of `GET /servers`: which servers, in which order.

Most filters become a query; those the rows cannot be asked for (`leftover`) are judged on what was read.
Source: Nova's API guide, "Filtering", and its list of what non-admins may filter by.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from aiohttp import web
from multidict import MultiDict, MultiMapping

from fabric.api.compute.schemas.parameters import BOOLEAN, as_boolean
from fabric.api.compute.versions import v
from fabric.api.faults import ApiError
from fabric.api.request import caller, microversion
from fabric.control.context import Caller
from fabric.control.errors import ForbiddenError
from fabric.control.regex_filter import checked_pattern
from fabric.control.servers import Keep
from fabric.core.servers.model import Server
from fabric.core.servers.queries import ServerFilter
from fabric.core.servers.states import POWER_STATE_CODE
from proto.ids import ProjectId, ServerId

SORT_FIELDS = {  # as clients call them -> as ListServers does; nearly always the same
    "created_at": "created_at",
    "updated_at": "updated_at",
    "launched_at": "launched_at",
    "display_name": "name",
    "name": "name",
    "uuid": "uuid",
    "id": "uuid",
    "vm_state": "vm_state",
    "task_state": "task_state",
    "power_state": "power_state",
    "project_id": "project_id",
    "user_id": "user_id",
    "key_name": "key_name",
    "hostname": "hostname",
    "image_ref": "image_ref",
    "host": "host",
    "availability_zone": "availability_zone",
    "locked": "locked",
    "config_drive": "config_drive",
    "launch_index": "launch_index",
    "instance_type_id": "instance_type_id",
    "display_description": "display_description",
    "node": "node",
}
_ADMIN_ONLY = frozenset(
    {
        "host",
        "node",
        "project_id",
        "tenant_id",
        "uuid",
        "display_name",
        "hostname",
        "launch_index",
        "description",
        "display_description",
    }
)
_ADMIN_ONLY_UNTIL_82 = frozenset(
    {
        "user_id",
        "availability_zone",
        "config_drive",
        "key_name",
        "power_state",
        "task_state",
        "vm_state",
        "created_at",
        "launched_at",
        "terminated_at",
        "progress",
    }
)
_KNOWN_STATUSES_OF_DELETED = frozenset({"DELETED", "SOFT_DELETED"})


@dataclass(frozen=True, slots=True)
class Search:
    """`is_empty`: nothing can match, no need to ask. `keep`: what is left to judge on each row."""

    filter: ServerFilter
    keep: tuple[Keep, ...] = ()
    is_empty: bool = False


def parse_search(request: web.Request) -> Search:
    """Raises: ApiError 400, InvalidError, ForbiddenError (deleted servers, all projects)."""
    who = caller(request)
    query = _allowed(request, who)
    project_id = _project(query, who)
    since_ms, before_ms = changes_between(query)
    base = ServerFilter(
        project_id=project_id,
        name_regex=_pattern(query, "name") or _pattern(query, "display_name"),
        ip_regex=_pattern(query, "ip"),
        statuses=tuple(status.upper() for status in query.getall("status", [])),
        flavor_id=_tail(query.get("flavor") or query.get("instance_type_id")),
        image_id=_tail(query.get("image") or query.get("image_ref")),
        host_name=query.get("host") or query.get("node"),
        user_id=query.get("user_id"),
        key_name=query.get("key_name"),
        zone=query.get("availability_zone"),
        vm_state=query.get("vm_state"),
        task_state=query.get("task_state"),
        reservation_id=query.get("reservation_id"),
        description=query.get("description") or query.get("display_description"),
        changed_since_ms=since_ms,
        changed_before_ms=before_ms,
        tags_all=_words(query, "tags"),
        locked=_boolean(query, "locked"),
    )
    if query.get("uuid"):
        base = replace(base, server_ids=(ServerId(query["uuid"]),))
    return Search(base, tuple(_leftovers(query)), _asks_for_deleted(query, who))


def _allowed(request: web.Request, who: Caller) -> MultiMapping[str]:
    """What this caller may filter by; the rest is left out without a word, as Nova does."""
    if who.is_admin:
        return request.query
    hidden = _ADMIN_ONLY
    if microversion(request) < v(83):
        hidden = hidden | _ADMIN_ONLY_UNTIL_82
    return MultiDict((name, value) for name, value in request.query.items() if name not in hidden)


def _project(query: MultiMapping[str], who: Caller) -> ProjectId | None:
    """None: every project's. Another project's implies all_tenants, unless that says no."""
    named = query.get("project_id") or query.get("tenant_id")
    asked = query.get("all_tenants")
    every = named is not None and named != who.project_id
    if asked is not None:
        every = asked == "" or _boolean(query, "all_tenants") is True
    if not every:
        return who.project_id
    if not who.is_admin:
        raise ForbiddenError(
            "Policy doesn't allow os_compute_api:servers:index:get_all_tenants to be performed."
        )
    return ProjectId(named) if named else None


def _asks_for_deleted(query: MultiMapping[str], who: Caller) -> bool:
    """Deleted servers leave no rows behind, so nothing matches; only admins may ask."""
    statuses = {status.upper() for status in query.getall("status", [])}
    if statuses & _KNOWN_STATUSES_OF_DELETED:
        if not who.is_admin:
            raise ForbiddenError("Only administrators may list deleted instances")
        return not statuses - _KNOWN_STATUSES_OF_DELETED
    if not who.is_admin:
        return False
    return bool(_boolean(query, "deleted")) or bool(_boolean(query, "soft_deleted"))


def _leftovers(query: MultiMapping[str]) -> list[Keep]:
    kept: list[Keep] = []
    if any_of := _words(query, "tags-any"):
        kept.append(lambda view: any(tag in view.server.tags for tag in any_of))
    if not_all := _words(query, "not-tags"):
        kept.append(lambda view: not all(tag in view.server.tags for tag in not_all))
    if not_any := _words(query, "not-tags-any"):
        kept.append(lambda view: not any(tag in view.server.tags for tag in not_any))
    drive = _boolean(query, "config_drive")
    if drive is not None:
        kept.append(lambda view: view.server.config_drive is drive)
    for name, value_of in _EXACT.items():
        if name in query:
            kept.append(_equals(value_of, query[name]))
    if "ip6" in query:
        kept.append(_has_address(query["ip6"]))
    return kept


_EXACT: dict[str, Callable[[Server], str]] = {
    "hostname": lambda server: server.hostname,
    "launch_index": lambda server: str(server.launch_index),
    "power_state": lambda server: str(POWER_STATE_CODE[server.power_state]),
    "root_device_name": lambda server: "/dev/vda",
    "kernel_id": lambda server: "",
    "ramdisk_id": lambda server: "",
    "progress": lambda server: "0",
    "access_ip_v4": lambda server: "",
    "access_ip_v6": lambda server: "",
}


def _equals(value_of: Callable[[Server], str], wanted: str) -> Keep:
    return lambda view: value_of(view.server) == wanted


def _has_address(pattern: str) -> Keep:
    compiled = re.compile(checked_pattern("ip6", pattern))
    return lambda view: any(
        ":" in choice.address and compiled.search(choice.address)
        for port in view.ports
        for choice in port.fixed_ips
    )


def _pattern(query: MultiMapping[str], name: str) -> str | None:
    text = query.get(name)
    return checked_pattern(name, text) if text else None


def _tail(reference: str | None) -> str | None:
    """Flavors and images may be named by href. Source: Nova's `get_id_from_href`."""
    return reference.rstrip("/").rpartition("/")[2] if reference else None


def _words(query: MultiMapping[str], name: str) -> tuple[str, ...]:
    text = query.get(name, "")
    return tuple(dict.fromkeys(word for word in text.split(",") if word))


def _boolean(query: MultiMapping[str], name: str) -> bool | None:
    text = query.get(name)
    if text is None or text == "":
        return None
    if text not in BOOLEAN["enum"]:
        raise ApiError(400, f"Invalid input for query parameters {name}: it must be a boolean.")
    return as_boolean(text)


def _moment(query: MultiMapping[str], name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text.strip().replace(" ", "+") if "T" in text else text.strip())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return int(moment.timestamp() * 1_000)
    except (ValueError, OverflowError) as error:
        raise ApiError(
            400, f"Invalid input for query parameters {name}: it must be an ISO 8601 time."
        ) from error


def changes_between(query: MultiMapping[str]) -> tuple[int | None, int | None]:
    """changes-since and changes-before, in ms of the epoch. Raises: ApiError 400."""
    since, before = _moment(query, "changes-since"), _moment(query, "changes-before")
    if since is not None and before is not None and before < since:
        raise ApiError(400, "The value of changes-since must be less than or equal to changes-before.")
    return since, before
