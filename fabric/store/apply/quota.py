"""Limits, and counting live rows against them. Usage is stored nowhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Table, bindparam, delete, func, insert, select

from fabric.core.quotas.demand import CLASS_PREFIX, SIZES, classes_of, demand_of, exceeded
from fabric.core.quotas.model import DEFAULT_LIMITS
from fabric.store import tables as t
from fabric.store.apply.context import ApplyContext, reject, single
from fabric.store.prepared import AnyRow, kept, prepared
from fabric.store.tables import level2

DEFAULTS_PROJECT = ""  # the row owner of the fabric's default limits
UNLIMITED = -1
NO_LIMITS: Mapping[str, int] = {}

_LIMITS = kept(
    select(t.quota_limits.c.project_id, t.quota_limits.c.resource, t.quota_limits.c.hard_limit)
    .where(t.quota_limits.c.project_id.in_((DEFAULTS_PROJECT, bindparam("project_id"))))
    .order_by(t.quota_limits.c.project_id, t.quota_limits.c.resource)  # defaults first: "" sorts lowest
)
_OF_SERVERS = (func.count(), func.sum(t.servers.c.vcpus), func.sum(t.servers.c.memory_mb))
_USED = prepared(
    single(
        select(
            *_OF_SERVERS,
            select(func.count()).where(t.ports.c.project_id == bindparam("project_id")).scalar_subquery(),
        ).where(t.servers.c.project_id == bindparam("project_id"))
    )
)
_USED_BY_USER = prepared(
    single(
        select(*_OF_SERVERS).where(
            t.servers.c.project_id == bindparam("project_id"), t.servers.c.user_id == bindparam("user_id")
        )
    )
)
_sizes = tuple(t.servers.c[name] for name in SIZES)
_BY_SIZE = prepared(
    select(*_sizes, func.count().label("servers"))
    .where(t.servers.c.project_id == bindparam("project_id"))
    .group_by(*_sizes)
    .order_by(*_sizes)
)
_own = level2.user_quota_limits.c
_ANY_USER_LIMIT = kept(single(select(_own.project_id).limit(1)))
_USER_LIMITS = kept(
    select(_own.resource, _own.hard_limit)
    .where(_own.project_id == bindparam("project_id"), _own.user_id == bindparam("user_id"))
    .order_by(_own.resource)
)


def limits_of(context: ApplyContext, project_id: str) -> dict[str, int]:
    """The project's limits over the fabric's defaults. -1: no limit. Resource classes are among them only
    where there is a limit for them."""
    limits = dict(DEFAULT_LIMITS)
    for row in context.rows(_LIMITS, {"project_id": project_id}):
        limits[row.resource] = row.hard_limit
    return limits


def user_limits_of(context: ApplyContext, project_id: str, user_id: str) -> Mapping[str, int]:
    """What was set for the user in the project; nothing else is in it. While no user has any limit this is
    one lookup a group of entries."""
    if not context.is_at(level2.LEVEL) or not context.exists(_ANY_USER_LIMIT):
        return NO_LIMITS
    rows = context.rows(_USER_LIMITS, {"project_id": project_id, "user_id": user_id})
    return {row.resource: row.hard_limit for row in rows}


def limit_of_user(context: ApplyContext, project_id: str, user_id: str, resource: str) -> int:
    """The project's, or the user's own where that is lower."""
    limit = limits_of(context, project_id)[resource]
    own = user_limits_of(context, project_id, user_id).get(resource, UNLIMITED)
    if UNLIMITED in (limit, own):
        return max(limit, own)
    return min(limit, own)


def check_server_quota(
    context: ApplyContext,
    limits: dict[str, int],
    project_id: str,
    user_id: str,
    flavor: AnyRow,
    *,
    ports: int,
    servers: int = 1,
) -> None:
    """Rejects `quota` in Nova's words when so many more servers of this flavor, with so many new ports in
    all, do not fit the project, or what its user may take of it. `limits`: the project's."""
    own = user_limits_of(context, project_id, user_id)
    has_more = len(limits) > len(DEFAULT_LIMITS)  # than the fabric began with: resource classes, perhaps
    if not own and not has_more and _limits_no_server(limits):
        return  # before anything is counted or made up: this is the hottest command
    wanted = demand_of(
        limits if has_more else NO_LIMITS,
        vcpus=flavor.vcpus,
        memory_mb=flavor.memory_mb,
        root_gb=flavor.root_gb,
        ephemeral_gb=flavor.ephemeral_gb,
        swap_mb=flavor.swap_mb,
        extra_specs=flavor.extra_specs,
    )
    if servers > 1:
        wanted = {name: amount * servers for name, amount in wanted.items()}
    if (ports and limits["port"] != UNLIMITED) or _limits_any(limits, wanted):
        row = context.row(_USED, {"project_id": project_id})
        assert row is not None
        if limits["port"] != UNLIMITED and ports and int(row[3]) + ports > limits["port"]:
            reject("quota", "Maximum number of ports exceeded")
        used = _of_servers(row)
        if has_more:
            used |= _of_classes(context, project_id, wanted)
        _check(limits, used, wanted)
    if own and _limits_any(own, wanted):
        row = context.row(_USED_BY_USER, {"project_id": project_id, "user_id": user_id})
        assert row is not None
        _check(own, _of_servers(row), wanted)


def _limits_no_server(limits: Mapping[str, int]) -> bool:
    """As far as quotas go, which count no resource classes."""
    return limits["cores"] == limits["instances"] == limits["ram"] == limits["port"] == UNLIMITED


def _limits_any(limits: Mapping[str, int], wanted: Mapping[str, int]) -> bool:
    return any(limits.get(name, UNLIMITED) != UNLIMITED for name in wanted)


def _of_servers(row: AnyRow) -> dict[str, int]:
    return {"instances": int(row[0]), "cores": int(row[1] or 0), "ram": int(row[2] or 0)}


def _of_classes(context: ApplyContext, project_id: str, wanted: Mapping[str, int]) -> dict[str, int]:
    """What the project's servers take of the resource classes among those. Servers of one flavor are added
    up by the database."""
    used = dict.fromkeys((name for name in wanted if name.startswith(CLASS_PREFIX)), 0)
    if used:
        for row in context.rows(_BY_SIZE, {"project_id": project_id}):
            taken = classes_of(**{name: getattr(row, name) for name in SIZES})
            for name in used:
                used[name] += taken.get(name, 0) * row.servers
    return used


def _check(limits: Mapping[str, int], used: Mapping[str, int], wanted: Mapping[str, int]) -> None:
    message = exceeded(limits, used, wanted)
    if message is not None:
        reject("quota", message)


def over_limit(
    context: ApplyContext,
    limit: int,
    table: Table,
    where: ColumnElement[Any],
    *,
    adding: int = 1,
) -> bool:
    """Whether `adding` rows to those of `table` that match would exceed `limit`."""
    if limit == UNLIMITED or adding == 0:
        return False
    used = context.number(single(select(func.count()).select_from(table).where(where)))
    return used + adding > limit


def check_network_quota(
    context: ApplyContext, resource: str, table: Table, project_id: str, *, adding: int = 1
) -> None:
    """Rejects `quota` in Neutron's words. `table` has one row for each `resource` of a project."""
    limit = limits_of(context, project_id)[resource]
    if over_limit(context, limit, table, table.c.project_id == project_id, adding=adding):
        reject("quota", f"Quota exceeded for resources: ['{resource}'].")


# ---- writing them


def put_limit(context: ApplyContext, owner_id: str, resource: str, limit: int) -> None:
    """`owner_id`: a project's or domain's, or DEFAULTS_PROJECT."""
    drop_limit(context, owner_id, resource)
    row = {"project_id": owner_id, "resource": resource, "hard_limit": limit}
    context.write(insert(t.quota_limits), row)


def drop_limit(context: ApplyContext, owner_id: str, resource: str) -> int:
    """How many there were."""
    c = t.quota_limits.c
    return context.write(delete(t.quota_limits).where(c.project_id == owner_id, c.resource == resource))


def forget_limits_of_project(context: ApplyContext, project_id: str) -> None:
    """All: its own, its users', and what is said about them."""
    context.write(delete(t.quota_limits).where(t.quota_limits.c.project_id == project_id))
    if context.is_at(level2.LEVEL):
        notes = level2.limit_descriptions
        context.write(delete(level2.user_quota_limits).where(_own.project_id == project_id))
        context.write(delete(notes).where(notes.c.owner_id == project_id))


def forget_limits_of_user(context: ApplyContext, user_id: str) -> None:
    """In every project."""
    if context.is_at(level2.LEVEL):
        context.write(delete(level2.user_quota_limits).where(_own.user_id == user_id))
