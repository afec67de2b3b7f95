"""Server groups: which servers of a project shall be near each other, and which apart."""

from __future__ import annotations

from fabric.control import policy
from fabric.control.context import Caller, Cloud
from fabric.control.errors import InvalidError, NotFoundError
from fabric.control.propose import propose
from fabric.core.queries import MarkerNotFoundError, Page
from fabric.core.server_groups.model import GroupPolicy, ServerGroup
from fabric.core.server_groups.queries import GetServerGroup, ListServerGroups
from proto.commands.server_groups import ServerGroupCreate, ServerGroupDelete
from proto.ids import ServerGroupId, is_uuid, new_uuid


async def list_server_groups(
    cloud: Cloud, caller: Caller, *, all_projects: bool, limit: int, offset: int, marker: str | None = None
) -> tuple[ServerGroup, ...]:
    """The oldest first. `all_projects` is for admins; for others it is as if they had not asked (Nova).

    Raises: ForbiddenError, InvalidError (unknown marker).
    """
    policy.require(caller, "compute:server_groups:list")
    every = all_projects and policy.allows(caller, "compute:server_groups:list_all_projects")
    query = ListServerGroups(
        project_id=None if every else policy.owner_of_new(caller),
        page=Page(limit=limit, marker=marker),
        offset=offset,
    )
    try:
        return await cloud.state.read(query)
    except MarkerNotFoundError as error:
        raise InvalidError(f"marker [{marker}] not found") from error


async def get_server_group(cloud: Cloud, caller: Caller, group_id: str) -> ServerGroup:
    """Raises: ForbiddenError, NotFoundError."""
    policy.require(caller, "compute:server_groups:show")
    return await _find(cloud, caller, group_id)


async def create_server_group(
    cloud: Cloud, caller: Caller, *, name: str, rule: GroupPolicy, max_server_per_host: int | None
) -> ServerGroup:
    """`max_server_per_host` is for anti-affinity alone. Raises: ForbiddenError, InvalidError, QuotaError."""
    policy.require(caller, "compute:server_groups:create")
    if max_server_per_host is not None and rule is not GroupPolicy.ANTI_AFFINITY:
        raise InvalidError("Only anti-affinity policy supports rules.")
    group = ServerGroup(
        group_id=ServerGroupId(new_uuid()),
        project_id=policy.owner_of_new(caller),
        user_id=caller.user_id,
        name=name,
        policy=rule.value,
        max_server_per_host=max_server_per_host,
        member_ids=(),
        created_ms=cloud.clock.wall_ms(),
    )
    command = ServerGroupCreate(
        group_id=group.group_id,
        project_id=group.project_id,
        user_id=group.user_id,
        name=group.name,
        policy=group.policy,
        max_server_per_host=group.max_server_per_host,
    )
    await propose(cloud, command, request_id=caller.request_id)
    return group


async def delete_server_group(cloud: Cloud, caller: Caller, group_id: str) -> None:
    """Its servers stay as they are. Raises: ForbiddenError, NotFoundError."""
    policy.require(caller, "compute:server_groups:delete")
    group = await _find(cloud, caller, group_id)
    await propose(cloud, ServerGroupDelete(group_id=group.group_id), request_id=caller.request_id)


async def _find(cloud: Cloud, caller: Caller, group_id: str) -> ServerGroup:
    group = (
        await cloud.state.read(GetServerGroup(group_id=ServerGroupId(group_id)))
        if is_uuid(group_id)
        else None
    )
    if group is None or not policy.can_see(caller, group.project_id):
        raise NotFoundError(f"Instance group {group_id[:64]} could not be found.")
    return group
