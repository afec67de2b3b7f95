"""Servers as their owners see and change them: show, list, rename, metadata, tags, delete.

Making one: `server_create.py`. Power, locks and consoles: `server_actions.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from fabric.control import policy
from fabric.control.context import Caller, Cloud
from fabric.control.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from fabric.control.propose import propose
from fabric.core.networks.model import SecurityGroup
from fabric.core.networks.queries import GetSecurityGroup
from fabric.core.queries import BadFilterError, MarkerNotFoundError, Page
from fabric.core.quotas.model import GetQuotas
from fabric.core.servers.model import Origin, ServerView
from fabric.core.servers.queries import GetServer, ListOrigins, ListServers, ServerFilter
from proto.commands.servers import ServerPin, ServerUpdate
from proto.ids import ProjectId, ServerId, is_uuid

_SEARCH_PAGE = 1_000  # rows a read where conditions are judged here


@dataclass(frozen=True, slots=True)
class Pin:
    """The zone that a server is to be bound to: the one that it is in, or None, no zone."""

    zone: str | None


Keep = Callable[[ServerView], bool]


async def find(cloud: Cloud, caller: Caller, server_id: str) -> ServerView:
    """The server, if the caller may know of it. Another project's is not found, unless for admins.

    Raises: NotFoundError.
    """
    view = await cloud.state.read(GetServer(server_id=ServerId(server_id))) if is_uuid(server_id) else None
    if view is None or not (caller.is_admin or view.server.project_id == caller.project_id):
        raise NotFoundError(f"Instance {server_id} could not be found.")
    return view


async def show(cloud: Cloud, caller: Caller, server_id: str) -> ServerView:
    """Raises: NotFoundError."""
    policy.require(caller, "compute:servers:show")
    return await find(cloud, caller, server_id)


async def listing(
    cloud: Cloud, caller: Caller, wanted: ServerFilter, page: Page, *, keep: tuple[Keep, ...] = ()
) -> tuple[ServerView, ...]:
    """Servers that match. `wanted.project_id` None is every project's: admins only. `keep`: conditions
    the rows cannot be asked for; as much is read as it takes to fill the page.

    Raises: ForbiddenError, InvalidError (unknown marker, or a filter that cannot be used).
    """
    policy.require(caller, "compute:servers:list")
    if wanted.project_id is None or wanted.project_id != caller.project_id:
        policy.require(caller, "compute:servers:list_all_projects")
    try:
        if not keep:
            return await cloud.state.read(ListServers(filter=wanted, page=page))
        return await _kept(cloud, wanted, page, keep)
    except MarkerNotFoundError as error:
        raise InvalidError(f"marker [{page.marker}] not found") from error
    except BadFilterError as error:
        raise InvalidError(str(error)) from error


async def _kept(
    cloud: Cloud, wanted: ServerFilter, page: Page, keep: tuple[Keep, ...]
) -> tuple[ServerView, ...]:
    assert page.limit is not None, "an unbounded search would read every server"
    found: list[ServerView] = []
    step = Page(limit=_SEARCH_PAGE, marker=page.marker, sort=page.sort)
    while True:
        rows = await cloud.state.read(ListServers(filter=wanted, page=step))
        found.extend(view for view in rows if all(condition(view) for condition in keep))
        if len(found) >= page.limit or len(rows) < _SEARCH_PAGE:
            return tuple(found[: page.limit])
        step = replace(step, marker=rows[-1].server.server_id)


async def update(
    cloud: Cloud,
    caller: Caller,
    server_id: str,
    *,
    name: str | None = None,
    description: str | None = None,
    hostname: str | None = None,
    pin: Pin | None = None,
) -> ServerView:
    """Fields left None stay; a description of "" is cleared. Raises: NotFoundError, ConflictError."""
    policy.require(caller, "compute:servers:update")
    view = await find(cloud, caller, server_id)
    require_unlocked(caller, view)
    command = ServerUpdate(
        server_id=view.server.server_id, name=name, description=description, hostname=hostname
    )
    if pin is not None and pin.zone != view.server.zone_wanted:
        command = ServerPin(
            server_id=view.server.server_id,
            name=name,
            description=description,
            hostname=hostname,
            zone=pin.zone,
        )
    elif name is None and description is None and hostname is None:
        return view
    await propose(cloud, command, request_id=caller.request_id)
    return await find(cloud, caller, server_id)


async def origins(cloud: Cloud, views: Sequence[ServerView]) -> Mapping[ServerId, Origin]:
    """What servers that the caller was shown were asked for with."""
    if not views:
        return {}
    return await cloud.state.read(ListOrigins(server_ids=tuple(view.server.server_id for view in views)))


async def set_metadata(
    cloud: Cloud, caller: Caller, server_id: str, metadata: Mapping[str, str]
) -> Mapping[str, str]:
    """Replaces the whole map. Raises: NotFoundError, ConflictError (locked), ForbiddenError (quota)."""
    policy.require(caller, "compute:servers:update")
    view = await find(cloud, caller, server_id)
    require_unlocked(caller, view)
    await check_metadata_quota(cloud, view.server.project_id, metadata)
    await propose(
        cloud,
        ServerUpdate(server_id=view.server.server_id, metadata=dict(metadata)),
        request_id=caller.request_id,
    )
    return metadata


async def check_metadata_quota(cloud: Cloud, project_id: ProjectId, metadata: Mapping[str, str]) -> None:
    """Raises ForbiddenError when there are more items than the project may have on one server."""
    if not metadata:
        return
    quotas = await cloud.state.read(GetQuotas(project_id=project_id))
    limit = quotas.limits.get("metadata_items", -1)
    if 0 <= limit < len(metadata):
        raise ForbiddenError(f"Maximum number of metadata items exceeds {limit}")


async def set_tags(cloud: Cloud, caller: Caller, server_id: str, tags: tuple[str, ...]) -> tuple[str, ...]:
    """Replaces all tags. Raises: NotFoundError, ConflictError (locked)."""
    policy.require(caller, "compute:servers:update")
    view = await find(cloud, caller, server_id)
    require_unlocked(caller, view)
    await propose(
        cloud,
        ServerUpdate(server_id=view.server.server_id, tags=tags),
        request_id=caller.request_id,
    )
    return tags


async def security_groups(cloud: Cloud, caller: Caller, server_id: str) -> tuple[SecurityGroup, ...]:
    """The groups on the server's ports, each once, in NIC order. Raises: NotFoundError."""
    policy.require(caller, "compute:servers:show")
    view = await find(cloud, caller, server_id)
    ids = dict.fromkeys(group_id for port in view.ports for group_id in port.security_group_ids)
    groups = []
    for group_id in ids:
        group = await cloud.state.read(GetSecurityGroup(security_group_id=group_id))
        if group is not None:
            groups.append(group)
    return tuple(groups)


def require_unlocked(caller: Caller, view: ServerView) -> None:
    """Raises ConflictError when the server is locked and the caller is no admin."""
    if view.server.locked and not caller.is_admin:
        raise ConflictError(f"Instance {view.server.server_id} is locked")
