"""Unified limits, out of the rows that quotas have."""

from __future__ import annotations

from sqlalchemy import Connection, select

from fabric.core.quotas.model import ALL_LIMITS
from fabric.core.quotas.unified import (
    BUILT_IN,
    Limit,
    ListLimits,
    ListRegisteredLimits,
    RegisteredLimit,
    built_in_id,
    name_of,
    resource_of,
)
from fabric.store import tables as t
from fabric.store.query.level import is_at
from fabric.store.query.registry import answers
from fabric.store.tables import level2
from proto.ids import DomainId, ProjectId

_DEFAULTS = ""


@answers(ListRegisteredLimits)
def list_registered_limits(
    connection: Connection, query: ListRegisteredLimits
) -> tuple[RegisteredLimit, ...]:
    found = _registered(connection).values()
    return tuple(sorted(found, key=lambda limit: (limit.service_type, limit.resource_name)))


@answers(ListLimits)
def list_limits(connection: Connection, query: ListLimits) -> tuple[Limit, ...]:
    registered = _registered(connection)
    domain_id = connection.execute(select(t.fabric.c.domain_id)).scalar_one_or_none()
    notes = _descriptions(connection)
    c = t.quota_limits.c
    wanted = c.project_id != _DEFAULTS if query.owner_id is None else c.project_id == query.owner_id
    rows = connection.execute(
        select(c.project_id, c.resource, c.hard_limit)
        .where(wanted, c.project_id != _DEFAULTS)
        .order_by(c.project_id, c.resource)
    )
    return tuple(
        Limit(
            project_id=None if row.project_id == domain_id else ProjectId(row.project_id),
            domain_id=DomainId(row.project_id) if row.project_id == domain_id else None,
            service_type=registered[row.resource].service_type,
            resource_name=registered[row.resource].resource_name,
            region_id=registered[row.resource].region_id,
            resource_limit=row.hard_limit,
            description=notes.get((row.project_id, row.resource)),
        )
        for row in rows
        if row.resource
        in registered  # all but Nova's that have no unified limit: `fixed_ips`, `floating_ips`
    )


def _registered(connection: Connection) -> dict[str, RegisteredLimit]:
    """By resource: what somebody registered, and what else the fabric has by itself."""
    c = t.quota_limits.c
    rows = connection.execute(select(c.resource, c.hard_limit).where(c.project_id == _DEFAULTS))
    defaults = dict(ALL_LIMITS) | {row.resource: row.hard_limit for row in rows}
    found = {
        resource: RegisteredLimit(
            limit_id=built_in_id(resource),
            service_type=name_of(resource)[0],
            resource_name=name_of(resource)[1],
            region_id=None,
            default_limit=defaults[resource],
            description=None,
        )
        for resource in BUILT_IN
    }
    if not is_at(connection, level2.LEVEL):
        return found
    for row in connection.execute(select(level2.registered_limits)):
        resource = resource_of(row.service_type, row.resource_name)
        found[resource] = RegisteredLimit(
            limit_id=row.limit_id,
            service_type=row.service_type,
            resource_name=row.resource_name,
            region_id=row.region_id,
            default_limit=defaults[resource],
            description=row.description,
        )
    return found


def _descriptions(connection: Connection) -> dict[tuple[str, str], str]:
    if not is_at(connection, level2.LEVEL):
        return {}
    c = level2.limit_descriptions.c
    rows = connection.execute(select(c.owner_id, c.resource, c.description))
    return {(row.owner_id, row.resource): row.description for row in rows}
