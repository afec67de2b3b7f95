"""Limits, and counting live rows against them. Usage is stored nowhere."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Table, bindparam, func, select

from fabric.core.quotas.model import DEFAULT_LIMITS
from fabric.store import tables as t
from fabric.store.apply.context import ApplyContext, reject, single
from fabric.store.prepared import kept, prepared

DEFAULTS_PROJECT = ""  # the row owner of the fabric's default limits
UNLIMITED = -1

_LIMITS = kept(
    select(t.quota_limits.c.project_id, t.quota_limits.c.resource, t.quota_limits.c.hard_limit)
    .where(t.quota_limits.c.project_id.in_((DEFAULTS_PROJECT, bindparam("project_id"))))
    .order_by(t.quota_limits.c.project_id, t.quota_limits.c.resource)  # defaults first: "" sorts lowest
)
_USED = prepared(
    single(
        select(
            func.count(),
            func.sum(t.servers.c.vcpus),
            func.sum(t.servers.c.memory_mb),
            select(func.count()).where(t.ports.c.project_id == bindparam("project_id")).scalar_subquery(),
        ).where(t.servers.c.project_id == bindparam("project_id"))
    )
)


def limits_of(context: ApplyContext, project_id: str) -> dict[str, int]:
    """The project's limits over the fabric's defaults. -1: no limit."""
    limits = dict(DEFAULT_LIMITS)
    for row in context.rows(_LIMITS, {"project_id": project_id}):
        limits[row.resource] = row.hard_limit
    return limits


def check_server_quota(
    context: ApplyContext,
    limits: dict[str, int],
    project_id: str,
    *,
    vcpus: int,
    memory_mb: int,
    ports: int,
) -> None:
    """Rejects `quota` in Nova's words when one more server of this size, with so many new ports, does not
    fit."""
    wanted = {"cores": vcpus, "instances": 1, "ram": memory_mb}
    if all(limits[name] == UNLIMITED for name in (*wanted, "port")):
        return
    row = context.row(_USED, {"project_id": project_id})
    assert row is not None
    used = {"instances": int(row[0]), "cores": int(row[1] or 0), "ram": int(row[2] or 0)}
    if limits["port"] != UNLIMITED and ports and int(row[3]) + ports > limits["port"]:
        reject("quota", "Maximum number of ports exceeded")
    over = [name for name in wanted if limits[name] != UNLIMITED and used[name] + wanted[name] > limits[name]]
    if not over:
        return
    asked, taken, allowed = (
        ", ".join(str(values[name]) for name in over) for values in (wanted, used, limits)
    )
    names = ", ".join(over)
    reject(
        "quota",
        f"Quota exceeded for {names}: Requested {asked}, but already used {taken} of {allowed} {names}",
    )


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
