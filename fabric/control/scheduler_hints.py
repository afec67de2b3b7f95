"""What a request asks of the scheduler: a group to join, and hints, checked and in one form for its filters.

A hint's value is a text or a list of texts. Which filter reads which hint is the scheduler's affair; those
that none reads are kept all the same, as Nova does.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from fabric.control.context import Cloud
from fabric.control.errors import InvalidError
from fabric.core.server_groups.queries import GetServerGroup
from proto.ids import ProjectId, ServerGroupId

HINTS_CHARS_MAX = 16_384  # of all hints of a request as JSON
QUERY_CHARS_MAX = 4_096  # which every host is held against
GROUP, QUERY, NEAR, CIDR = "group", "query", "build_near_host_ip", "cidr"
_OF_SERVERS = ("same_host", "different_host")
_NOVAS_OWN = "_nova"  # beginning of hints that Nova's services tell each other, and take from nobody


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """For the scheduler, beside zone and host."""

    group_id: ServerGroupId | None = None
    hints: Mapping[str, object] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.group_id is not None or bool(self.hints)


async def resolve_wishes(cloud: Cloud, project_id: ProjectId, given: Mapping[str, object]) -> Wishes:
    """`given`: a request's hints, any JSON values. Raises: InvalidError (a group that the project has not; a
    hint that cannot be meant)."""
    hints = {name: value for name, value in given.items() if not name.startswith(_NOVAS_OWN)}
    group_id = await _group(cloud, project_id, hints.pop(GROUP, None))
    told = {name: _value(name, value) for name, value in hints.items()}
    _check_network(told)
    if len(json.dumps(told)) > HINTS_CHARS_MAX:
        raise InvalidError(f"os:scheduler_hints: longer than {HINTS_CHARS_MAX} characters in all.")
    return Wishes(group_id=group_id, hints=told)


async def _group(cloud: Cloud, project_id: ProjectId, given: object) -> ServerGroupId | None:
    named = given[0] if isinstance(given, list) and given else given
    if not named:
        return None
    group_id = ServerGroupId(str(named).lower())
    group = await cloud.state.read(GetServerGroup(group_id=group_id))
    if group is None or group.project_id != project_id:
        raise InvalidError(f"Instance group {group_id} could not be found.")
    return group_id


def _value(name: str, value: object) -> str | list[str]:
    if name == QUERY:
        return _query(value)
    if name in _OF_SERVERS:
        return [str(each).lower() for each in (value if isinstance(value, list) else [value])]
    if isinstance(value, list):
        return [_text(each) for each in value]
    return _text(value)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _query(value: object) -> str:
    """JsonFilter's: JSON, or JSON in a text."""
    if not isinstance(value, str):
        value = json.dumps(value)
    if len(value) > QUERY_CHARS_MAX:
        raise InvalidError(f"{QUERY}: the hint is longer than {QUERY_CHARS_MAX} characters.")
    try:
        json.loads(value)
    except ValueError as error:
        raise InvalidError(f"{QUERY}: the hint is not JSON ({error}).") from error
    except RecursionError as error:
        raise InvalidError(f"{QUERY}: the hint is nested too deeply.") from error
    return value


def _check_network(hints: Mapping[str, object]) -> None:
    """`build_near_host_ip` and `cidr` ("/24") together name a network."""
    if NEAR not in hints:
        return
    cidr = str(hints.get(CIDR, "/24"))  # SimpleCIDRAffinityFilter's own default
    try:
        ipaddress.ip_network(f"{hints[NEAR]}{cidr}", strict=False)
    except ValueError as error:
        raise InvalidError(f"{CIDR}: {hints[NEAR]}{cidr} is not a network.") from error
