"""Server groups: made, joined, obeyed. Messages in Nova's words."""

from __future__ import annotations

from sqlalchemy import bindparam, case, delete, func, insert, select

from fabric.core.server_groups.model import GroupPolicy
from fabric.store import tables as t
from fabric.store.apply.context import ApplyContext, Result, reject, single
from fabric.store.apply.held import held
from fabric.store.apply.lookups import need_project
from fabric.store.apply.quota import (
    UNLIMITED,
    limit_of_user,
    limits_of,
    over_limit,
    user_limits_of,
)
from fabric.store.apply.registry import handles
from fabric.store.prepared import AnyRow, prepared
from fabric.store.tables import level2
from proto.commands.server_groups import ServerGroupCreate, ServerGroupDelete

DEFAULT_MAX_SERVER_PER_HOST = 1

_G, _M, _S = level2.server_groups.c, level2.server_group_members.c, t.servers.c
_ONE = prepared(single(select(level2.server_groups).where(_G.group_id == bindparam("id"))))
_JOIN = prepared(insert(level2.server_group_members))
_LEAVE = prepared(delete(level2.server_group_members).where(_M.server_id == bindparam("gone")))
_GROUP_OF = prepared(
    single(
        select(_G.group_id, _G.name, _G.policy, _G.max_server_per_host)
        .join(level2.server_group_members, _M.group_id == _G.group_id)
        .where(_M.server_id == bindparam("server_id"))
    )
)
_PLACED = prepared(  # other members that have a host, and those of them on this one
    single(
        select(
            func.count(_S.host_id),
            func.count(case((_S.host_id == bindparam("host_id"), _S.server_id))),
        )
        .select_from(level2.server_group_members.join(t.servers, _S.server_id == _M.server_id))
        .where(_M.group_id == bindparam("group_id"), _M.server_id != bindparam("server_id"))
    )
)


@handles(ServerGroupCreate, lambda command: command.group_id)
def create_group(context: ApplyContext, command: ServerGroupCreate) -> Result:
    need_project(context, command.project_id)
    _check_policy(command)
    limit, owned = (
        limits_of(context, command.project_id)["server_groups"],
        _G.project_id == command.project_id,
    )
    own = user_limits_of(context, command.project_id, command.user_id).get("server_groups", UNLIMITED)
    by_user = owned & (_G.user_id == command.user_id)
    if over_limit(context, limit, level2.server_groups, owned) or over_limit(
        context, own, level2.server_groups, by_user
    ):
        reject("quota", "Quota exceeded, too many server groups.")
    if context.row(_ONE, {"id": command.group_id}) is not None:
        reject("conflict", f"Instance group {command.group_id} already exists.")
    context.write(
        insert(level2.server_groups),
        {
            "group_id": command.group_id,
            "project_id": command.project_id,
            "user_id": command.user_id,
            "name": command.name,
            "policy": command.policy,
            "max_server_per_host": command.max_server_per_host,
            "created_ms": context.time_ms,
        },
    )
    return {}


def _check_policy(command: ServerGroupCreate) -> None:
    if command.policy not in [policy.value for policy in GroupPolicy]:
        reject("invalid", f"There is no server group policy {command.policy}.")
    if command.max_server_per_host is None:
        return
    if command.policy != GroupPolicy.ANTI_AFFINITY.value:
        reject("invalid", "Only anti-affinity policy supports rules.")
    if command.max_server_per_host < 1:
        reject("invalid", "max_server_per_host must be 1 or more.")


@handles(ServerGroupDelete, lambda command: command.group_id)
def delete_group(context: ApplyContext, command: ServerGroupDelete) -> Result:
    row = context.row(_ONE, {"id": command.group_id})
    if row is None:
        reject("not_found", f"Instance group {command.group_id} could not be found.")
    context.project_id = row.project_id
    context.write(delete(level2.server_group_members).where(_M.group_id == command.group_id))
    context.write(delete(level2.server_groups).where(_G.group_id == command.group_id))
    return {}


def delete_groups_of(context: ApplyContext, project_id: str) -> None:
    """When the project goes, which has no servers any more. At level 1 there are none."""
    if context.is_at(level2.LEVEL):
        context.write(delete(level2.server_groups).where(_G.project_id == project_id))


def join_group(context: ApplyContext, server_id: str, project_id: str, user_id: str, group_id: str) -> None:
    """Rejects `invalid`: no such group in the project, which to Nova is a mistake in the request; `quota`."""
    row = context.row(_ONE, {"id": group_id})
    if row is None or row.project_id != project_id:
        reject("invalid", f"Instance group {group_id} could not be found.")
    limit = limit_of_user(context, project_id, user_id, "server_group_members")
    if over_limit(context, limit, level2.server_group_members, _M.group_id == group_id):
        reject("quota", "Quota exceeded, too many servers in group")
    context.write(_JOIN, {"server_id": server_id, "group_id": group_id})


def leave_group(context: ApplyContext, server_id: str) -> None:
    """For rows that are at level 2."""
    context.write(_LEAVE, {"gone": server_id})


def need_policy(context: ApplyContext, server_id: str, host: AnyRow) -> None:
    """The server's group allows that host by what is placed now: the scheduler chose by older rows, and
    others may have been placed since. Rejects `policy_violated`. At level 1 there are no groups."""
    if not context.is_at(level2.LEVEL):
        return
    group = context.row(_GROUP_OF, {"server_id": server_id})
    if group is None:
        return
    if group.policy not in (GroupPolicy.AFFINITY.value, GroupPolicy.ANTI_AFFINITY.value):
        return
    asked = {"host_id": host.host_id, "group_id": group.group_id, "server_id": server_id}
    counted = context.row(_PLACED, asked)
    assert counted is not None
    on_their_way = _on_their_way(context, server_id, group.group_id)
    placed, here = int(counted[0]), int(counted[1]) + on_their_way.count(host.host_id)
    if group.policy == GroupPolicy.ANTI_AFFINITY.value:
        most = group.max_server_per_host or DEFAULT_MAX_SERVER_PER_HOST
        if here >= most:
            reject(
                "policy_violated",
                f"Anti-affinity server group policy was violated: compute host {host.name} has {here} of "
                f"{most} servers of group {group.group_id}.",
            )
    elif placed and not here:
        reject(
            "policy_violated",
            f"Affinity server group policy was violated: compute host {host.name} has none of the {placed} "
            f"placed servers of group {group.group_id}.",
        )
    elif here < placed + len(on_their_way):
        reject(
            "policy_violated",
            f"Affinity server group policy would be violated: a server of group {group.group_id} is moving, "
            "and may end on another host. Wait for it, or confirm it.",
        )


def _on_their_way(context: ApplyContext, server_id: str, group_id: str) -> list[str]:
    """To which hosts other members of the group are about to come, or may come back."""
    hosts = []
    for row in held(context):
        if row.server_id != server_id:
            group = context.row(_GROUP_OF, {"server_id": row.server_id})
            if group is not None and group.group_id == group_id:
                hosts.append(row.held_host_id)
    return hosts
