"""Quota limits and usage, counted from live rows."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import ColumnElement, Connection, Table, func, select

from fabric.core.quotas.demand import SIZES, classes_of, limited_classes
from fabric.core.quotas.model import (
    ALL_LIMITS,
    DEFAULT_CLASS,
    GetQuotaClass,
    GetQuotas,
    ListLimitedProjects,
    ListUserLimits,
    QuotaUsage,
    UserLimits,
)
from fabric.store import tables as t
from fabric.store.query.level import is_at
from fabric.store.query.registry import answers
from fabric.store.tables import level2
from proto.ids import ProjectId, UserId

_DEFAULTS = ""  # the owner of the fabric's defaults, which sorts first
_COUNTED: dict[str, Table] = {
    "network": t.networks,
    "subnet": t.subnets,
    "port": t.ports,
    "security_group": t.security_groups,
    "security_group_rule": t.security_rules,
}


@answers(GetQuotas)
def get_quotas(connection: Connection, query: GetQuotas) -> QuotaUsage:
    is_newer = is_at(connection, level2.LEVEL)
    limits = dict(ALL_LIMITS) | _limits(connection, (_DEFAULTS, query.project_id))
    if query.user_id is not None and is_newer:
        limits |= _own(connection, query.project_id).get(query.user_id, {})
    used = dict.fromkeys(limits, 0) | _of_servers(connection, query, limits)
    if is_newer:
        used["server_groups"] = _count(connection, level2.server_groups, _owned(level2.server_groups, query))
    for resource, table in _COUNTED.items():
        used[resource] = _count(connection, table, [table.c.project_id == query.project_id])
    return QuotaUsage(limits=limits, used=used)


@answers(GetQuotaClass)
def get_quota_class(connection: Connection, query: GetQuotaClass) -> Mapping[str, int]:
    if query.class_name == DEFAULT_CLASS:
        return dict(ALL_LIMITS) | _limits(connection, (_DEFAULTS,))
    if not is_at(connection, level2.LEVEL):
        return ALL_LIMITS
    c = level2.quota_class_limits.c
    rows = connection.execute(select(c.resource, c.hard_limit).where(c.class_name == query.class_name))
    return dict(ALL_LIMITS) | {row.resource: row.hard_limit for row in rows}


@answers(ListUserLimits)
def list_user_limits(connection: Connection, query: ListUserLimits) -> tuple[UserLimits, ...]:
    if not is_at(connection, level2.LEVEL):
        return ()
    own = _own(connection, query.project_id)
    return tuple(UserLimits(user_id=UserId(user), limits=limits) for user, limits in sorted(own.items()))


@answers(ListLimitedProjects)
def list_limited_projects(connection: Connection, query: ListLimitedProjects) -> tuple[ProjectId, ...]:
    c = t.quota_limits.c
    rows = connection.execute(
        select(t.projects.c.project_id)
        .where(t.projects.c.project_id.in_(select(c.project_id).where(c.resource.in_(query.resources))))
        .order_by(t.projects.c.project_id)
    )
    return tuple(ProjectId(row.project_id) for row in rows)


def _limits(connection: Connection, owners: tuple[str, ...]) -> dict[str, int]:
    """Of later owners over those of earlier ones: they sort so."""
    c = t.quota_limits.c
    rows = connection.execute(
        select(c.resource, c.hard_limit).where(c.project_id.in_(owners)).order_by(c.project_id, c.resource)
    )
    return {row.resource: row.hard_limit for row in rows}


def _own(connection: Connection, project_id: str) -> dict[str, dict[str, int]]:
    """What users of the project have of their own."""
    c = level2.user_quota_limits.c
    found: dict[str, dict[str, int]] = {}
    for row in connection.execute(
        select(c.user_id, c.resource, c.hard_limit).where(c.project_id == project_id)
    ):
        found.setdefault(row.user_id, {})[row.resource] = row.hard_limit
    return found


def _owned(table: Table, query: GetQuotas) -> list[ColumnElement[bool]]:
    by_user = [] if query.user_id is None else [table.c.user_id == query.user_id]
    return [table.c.project_id == query.project_id, *by_user]


def _count(connection: Connection, table: Table, where: list[ColumnElement[bool]]) -> int:
    return int(connection.execute(select(func.count()).select_from(table).where(*where)).scalar_one())


def _of_servers(connection: Connection, query: GetQuotas, limits: Mapping[str, int]) -> dict[str, int]:
    """Instances, cores, ram, and the resource classes that have limits."""
    c, owned = t.servers.c, _owned(t.servers, query)
    row = connection.execute(
        select(func.count(), func.sum(c.vcpus), func.sum(c.memory_mb)).where(*owned)
    ).one()
    used = {"instances": int(row[0]), "cores": int(row[1] or 0), "ram": int(row[2] or 0)}
    classes = limited_classes(limits)
    if not classes:
        return used
    used |= dict.fromkeys(classes, 0)
    sizes = [c[name] for name in SIZES]
    for row in connection.execute(
        select(*sizes, func.count().label("servers")).where(*owned).group_by(*sizes)
    ):
        taken = classes_of(**{name: getattr(row, name) for name in SIZES})
        for name in classes:
            used[name] += taken.get(name, 0) * row.servers
    return used
