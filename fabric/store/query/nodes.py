"""Nodes, hosts with what is claimed on them, join tokens, role grants."""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import Connection, Select, func, select

from fabric.core.nodes.model import Host, HostUsage, JoinToken, Node, RemovedNode, RoleGrant, VoterWishRow
from fabric.core.nodes.queries import (
    GetJoinToken,
    GetNode,
    GetRemovedNode,
    ListHosts,
    ListJoinTokens,
    ListNodes,
    ListRemovedNodes,
    ListRoleGrants,
    ListVoterWishes,
)
from fabric.store import tables as t
from fabric.store.query.among import among, rows_or_all
from fabric.store.query.host_zone import zone_at
from fabric.store.query.level import level_of
from fabric.store.query.registry import answers

MB_PER_GB = 1_024

_CLAIMS = (
    select(
        t.servers.c.host_id,
        func.count().label("servers"),
        func.sum(t.servers.c.vcpus).label("vcpus"),
        func.sum(t.servers.c.memory_mb).label("memory_mb"),
        func.sum(t.servers.c.root_gb + t.servers.c.ephemeral_gb).label("disk_gb"),
        func.sum(t.servers.c.swap_mb).label("swap_mb"),
    )
    .where(t.servers.c.host_id.is_not(None))
    .group_by(t.servers.c.host_id)
)
_CLAIMS_AMONG = _CLAIMS.where(among(t.servers.c.host_id))


_COLUMNS = [column for column in t.hosts.c if column is not t.hosts.c.zone]
_NAMES = [*(column.name for column in _COLUMNS), "zone"]


@cache
def _hosts(level: int) -> Select[Any]:
    """For rows at that level."""
    return select(*_COLUMNS, zone_at(level).label("zone")).order_by(t.hosts.c.number)


@cache
def _hosts_among(level: int) -> Select[Any]:
    return _hosts(level).where(among(t.hosts.c.host_id))


@answers(ListNodes)
def list_nodes(connection: Connection, query: ListNodes) -> tuple[Node, ...]:
    rows = connection.execute(select(t.nodes).order_by(t.nodes.c.name))
    return tuple(Node(**row._mapping) for row in rows)


@answers(GetNode)
def get_node(connection: Connection, query: GetNode) -> Node | None:
    row = connection.execute(select(t.nodes).where(t.nodes.c.node_id == query.node_id)).first()
    return None if row is None else Node(**row._mapping)


@answers(ListRemovedNodes)
def list_removed_nodes(connection: Connection, query: ListRemovedNodes) -> tuple[RemovedNode, ...]:
    newest = (t.removed_nodes.c.removed_ms.desc(), t.removed_nodes.c.node_id)
    rows = connection.execute(select(t.removed_nodes).order_by(*newest))
    return tuple(RemovedNode(**row._mapping) for row in rows)


@answers(GetRemovedNode)
def get_removed_node(connection: Connection, query: GetRemovedNode) -> RemovedNode | None:
    wanted = t.removed_nodes.c.node_id == query.node_id
    row = connection.execute(select(t.removed_nodes).where(wanted)).first()
    return None if row is None else RemovedNode(**row._mapping)


@answers(ListJoinTokens)
def list_join_tokens(connection: Connection, query: ListJoinTokens) -> tuple[JoinToken, ...]:
    by_expiry = (t.join_tokens.c.expires_ms, t.join_tokens.c.token_id)
    rows = connection.execute(select(t.join_tokens).order_by(*by_expiry))
    return tuple(JoinToken(**row._mapping) for row in rows)


@answers(GetJoinToken)
def get_join_token(connection: Connection, query: GetJoinToken) -> JoinToken | None:
    row = connection.execute(select(t.join_tokens).where(t.join_tokens.c.token_id == query.token_id)).first()
    return None if row is None else JoinToken(**row._mapping)


@answers(ListHosts)
def list_hosts(connection: Connection, query: ListHosts) -> tuple[HostUsage, ...]:
    level, ids = level_of(connection), sorted(query.host_ids)
    if query.host_id is not None:
        ids = [query.host_id]
    claims = rows_or_all(connection, _CLAIMS, _CLAIMS_AMONG, ids)
    rows = rows_or_all(connection, _hosts(level), _hosts_among(level), ids)
    if ids:
        rows = sorted(rows, key=lambda row: int(row.number))
    claimed = {row.host_id: row for row in claims}
    found = []
    for row in rows:
        claim = claimed.get(row.host_id)
        swap_mb = 0 if claim is None else int(claim.swap_mb or 0)
        found.append(
            HostUsage(
                host=Host(**dict(zip(_NAMES, row, strict=True))),  # `_mapping` takes three times as long
                vcpus_used=0 if claim is None else int(claim.vcpus or 0),
                memory_mb_used=0 if claim is None else int(claim.memory_mb or 0),
                disk_gb_used=(0 if claim is None else int(claim.disk_gb or 0)) - (-swap_mb // MB_PER_GB),
                servers=0 if claim is None else int(claim.servers),
            )
        )
    return tuple(found)


@answers(ListRoleGrants)
def list_role_grants(connection: Connection, query: ListRoleGrants) -> tuple[RoleGrant, ...]:
    rows = connection.execute(select(t.role_grants).order_by(t.role_grants.c.role))
    return tuple(RoleGrant(**row._mapping) for row in rows)


@answers(ListVoterWishes)
def list_voter_wishes(connection: Connection, query: ListVoterWishes) -> tuple[VoterWishRow, ...]:
    rows = connection.execute(select(t.voter_wishes).order_by(t.voter_wishes.c.node_id))
    return tuple(VoterWishRow(**row._mapping) for row in rows)
