"""Quota limits and usage, counted from live rows."""

from __future__ import annotations

from sqlalchemy import Connection, Table, func, select

from fabric.core.quotas.model import DEFAULT_LIMITS, GetQuotas, QuotaUsage
from fabric.store import tables as t
from fabric.store.query.registry import answers

_COUNTED: dict[str, Table] = {
    "network": t.networks,
    "subnet": t.subnets,
    "port": t.ports,
    "security_group": t.security_groups,
    "security_group_rule": t.security_rules,
}


@answers(GetQuotas)
def get_quotas(connection: Connection, query: GetQuotas) -> QuotaUsage:
    limits = dict(DEFAULT_LIMITS)
    c = t.quota_limits.c
    owners = ("", query.project_id)  # "" holds the fabric's defaults and sorts first
    for row in connection.execute(
        select(t.quota_limits).where(c.project_id.in_(owners)).order_by(c.project_id, c.resource)
    ):
        limits[row.resource] = row.hard_limit
    servers = connection.execute(
        select(func.count(), func.sum(t.servers.c.vcpus), func.sum(t.servers.c.memory_mb)).where(
            t.servers.c.project_id == query.project_id
        )
    ).one()
    used = dict.fromkeys(limits, 0)
    used |= {"instances": int(servers[0]), "cores": int(servers[1] or 0), "ram": int(servers[2] or 0)}
    for resource, table in _COUNTED.items():
        statement = select(func.count()).select_from(table).where(table.c.project_id == query.project_id)
        used[resource] = int(connection.execute(statement).scalar_one())
    if query.user_id is not None:
        statement = select(func.count()).where(t.keypairs.c.user_id == query.user_id)
        used["key_pairs"] = int(connection.execute(statement).scalar_one())
    return QuotaUsage(limits=limits, used=used)
