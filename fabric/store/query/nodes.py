"""Nodes, hosts with what is claimed on them, join tokens, role grants."""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select

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
from fabric.core.placement.resources import DISK_GB, MEMORY_MB, VCPU
from fabric.core.providers.claims import added
from fabric.store import tables as t
from fabric.store.claims import MB_PER_GB, SAY_OTHERWISE, SIZES, beyond_sums, sums
from fabric.store.query.among import among, rows_or_all
from fabric.store.query.held import held_by_host
from fabric.store.query.host_zone import zone_at
from fabric.store.query.level import level_of
from fabric.store.query.registry import answers
from proto.ids import NodeId

_OTHERWISE = (  # how many servers of one size are on a host: their claims are worked out once
    select(t.servers.c.host_id, *SIZES, func.count().label("servers"))
    .where(t.servers.c.host_id.is_not(None), SAY_OTHERWISE)
    .group_by(t.servers.c.host_id, *SIZES)
)
_OTHERWISE_AMONG = _OTHERWISE.where(among(t.servers.c.host_id))


_COLUMNS = [column for column in t.hosts.c if column is not t.hosts.c.zone]
_NAMES = [*(column.name for column in _COLUMNS), "zone"]


_NONE: tuple[Any, ...] = (0, 0, 0, 0, 0)  # of a host without servers


@cache
def _sums(level: int) -> Select[Any]:
    """By host."""
    counted = select(t.servers.c.host_id, func.count(), *sums(level))
    return counted.where(t.servers.c.host_id.is_not(None)).group_by(t.servers.c.host_id)


@cache
def _sums_among(level: int) -> Select[Any]:
    return _sums(level).where(among(t.servers.c.host_id))


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
    claims = rows_or_all(connection, _sums(level), _sums_among(level), ids)
    rows = rows_or_all(connection, _hosts(level), _hosts_among(level), ids)
    if ids:
        rows = sorted(rows, key=lambda row: int(row.number))
    claimed = {row.host_id: tuple(row)[1:] for row in claims}
    special: dict[NodeId, list[Row[Any]]] = {}
    for row in rows_or_all(connection, _OTHERWISE, _OTHERWISE_AMONG, ids):
        special.setdefault(row.host_id, []).append(row)
    held = held_by_host(connection, level)
    found = []
    for row in rows:
        host = Host(**dict(zip(_NAMES, row, strict=True)))  # `_mapping` takes three times as long
        servers, *numbers = claimed.get(host.host_id, _NONE)
        vcpus, memory_mb, disk_gb, swap_mb = (int(number or 0) for number in numbers)
        beyond = beyond_sums(level, special[host.host_id]) if host.host_id in special else {}
        added(beyond, held.get(host.host_id, {}))
        found.append(
            HostUsage(
                host=host,
                vcpus_used=vcpus + beyond.pop(VCPU, 0),
                memory_mb_used=memory_mb + beyond.pop(MEMORY_MB, 0),
                disk_gb_used=disk_gb - (-swap_mb // MB_PER_GB) + beyond.pop(DISK_GB, 0),
                others_used=beyond,
                servers=int(servers),
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
