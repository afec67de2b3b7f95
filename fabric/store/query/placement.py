"""What the scheduler asks: who waits for a host, what hosts have, and what is around them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Row, Select, func, or_, select

from fabric.core.aggregates.queries import ListAggregates
from fabric.core.moves.model import Move
from fabric.core.nodes.queries import ListHosts
from fabric.core.placement.busy import BUSY_TASKS, is_busy
from fabric.core.placement.host_facts import AggregateFacts, HostFacts, Surroundings, used_by
from fabric.core.placement.queries import (
    GetPlacementRequest,
    GetSurroundings,
    ListHostFacts,
    ListPlacementRequests,
)
from fabric.core.placement.request import GroupWish, PlacementRequest, request_of
from fabric.core.providers.queries import ListHostOffers
from fabric.core.providers.tree import host_traits
from fabric.core.server_groups.model import GroupPolicy
from fabric.core.servers.states import TaskState, VmState
from fabric.core.topology.facts import NOTHING_TOLD, Told
from fabric.store import tables as t
from fabric.store.claims import claims_at, flavor_of
from fabric.store.query.aggregates import list_aggregates
from fabric.store.query.among import among, rows_among, rows_or_all
from fabric.store.query.grants import grants_on_hosts
from fabric.store.query.held import held_claims
from fabric.store.query.hints import hints_among
from fabric.store.query.level import is_at, level_of
from fabric.store.query.moves import waiting_moves
from fabric.store.query.nodes import list_hosts
from fabric.store.query.providers import list_host_offers
from fabric.store.query.registry import answers
from fabric.store.query.servers import row_of_server, rows_of_servers, server_of
from fabric.store.query.shelved import image_of, saved_among
from fabric.store.tables import level2, level3
from proto.ids import ImageId, NodeId, ServerId

_S, _G, _M = t.servers.c, level2.server_groups.c, level2.server_group_members.c
_MV = level3.moves.c
NO_MOVES: Mapping[ServerId, Move] = {}

_IMAGES = select(t.images.c.image_id, t.images.c.properties, t.images.c.sha256).where(
    among(t.images.c.image_id)
)
_WISHES = (
    select(_M.server_id, _G.group_id, _G.policy, _G.max_server_per_host)
    .select_from(level2.server_group_members.join(level2.server_groups, _G.group_id == _M.group_id))
    .where(among(_M.server_id))
)
_FAILED = (
    select(level2.failed_builds, t.hosts.c.name)
    .outerjoin(t.hosts, t.hosts.c.host_id == level2.failed_builds.c.host_id)
    .where(among(level2.failed_builds.c.server_id))
    .order_by(level2.failed_builds.c.failed_ms, level2.failed_builds.c.host_id)
)
_BUSY = (
    select(_S.host_id, func.count().label("servers"))
    .where(
        _S.host_id.is_not(None),
        or_(_S.vm_state == VmState.BUILDING.value, _S.task_state.in_(sorted(BUSY_TASKS))),
    )
    .group_by(_S.host_id)
)
_BUSY_AMONG = _BUSY.where(among(_S.host_id))
_HOLDERS = select(t.images.c.image_id, t.images.c.node_id).where(t.images.c.node_id.is_not(None))
_HOLDERS_AMONG = _HOLDERS.where(among(t.images.c.node_id))
_PLACED_MEMBERS = (
    select(_M.group_id, _S.host_id, _S.server_id)
    .select_from(level2.server_group_members.join(t.servers, _S.server_id == _M.server_id))
    .where(_S.host_id.is_not(None), among(_M.group_id))
)
_MOVING_MEMBERS = (
    select(_M.group_id, _MV.held_host_id, _MV.server_id)
    .select_from(level2.server_group_members.join(level3.moves, _MV.server_id == _M.server_id))
    .where(_MV.held_host_id.is_not(None), among(_M.group_id))
)
_PLACED = select(_S.server_id, _S.host_id).where(_S.host_id.is_not(None), among(_S.server_id))


@cache
def _unplaced(level: int, task: TaskState) -> Select[Any]:
    waiting = (_S.task_state == task.value, _S.host_id.is_(None))
    return rows_of_servers(level).where(*waiting).order_by(_S.created_ms, _S.server_id)


@cache
def _servers_among(level: int) -> Select[Any]:
    return rows_of_servers(level).where(among(_S.server_id)).order_by(_S.created_ms, _S.server_id)


@answers(ListPlacementRequests)
def list_placement_requests(
    connection: Connection, query: ListPlacementRequests
) -> tuple[PlacementRequest, ...]:
    """Those that move come first: there are few of them, and they hold up a guest that has a user. Then those
    that were there before, and then new ones."""
    level = level_of(connection)
    moves = {move.server_id: move for move in waiting_moves(connection, query.limit)}
    found = list(rows_among(connection, _servers_among(level), sorted(moves)))
    tasks = (TaskState.UNSHELVING, TaskState.SCHEDULING) if level >= level3.LEVEL else (TaskState.SCHEDULING,)
    for task in tasks:
        if len(found) < query.limit:
            found += connection.execute(_unplaced(level, task).limit(query.limit - len(found))).all()
    return _requests(connection, found, moves)


@answers(GetPlacementRequest)
def get_placement_request(connection: Connection, query: GetPlacementRequest) -> PlacementRequest | None:
    found = _requests(
        connection, connection.execute(row_of_server(level_of(connection)), {"id": query.server_id}).all()
    )
    return found[0] if found else None


def _requests(
    connection: Connection, rows: Sequence[Row[Any]], moves: Mapping[ServerId, Move] = NO_MOVES
) -> tuple[PlacementRequest, ...]:
    servers = [server_of(row) for row in rows]
    saved = saved_among(connection, servers)
    made_of = {server.server_id: image_of(server, saved) for server in servers}
    wanted = sorted(set(made_of.values()) - {""})
    images = list(rows_among(connection, _IMAGES, wanted))
    properties = {row.image_id: row.properties for row in images}
    addresses = {row.image_id: row.sha256 or "" for row in images}
    ids = [server.server_id for server in servers]
    hints: dict[ServerId, dict[str, tuple[str, ...]]] = {}
    groups: dict[str, GroupWish] = {}
    failed: defaultdict[str, list[Row[Any]]] = defaultdict(list)
    if ids and is_at(connection, level2.LEVEL):
        hints = hints_among(connection, ids)
        groups = {row.server_id: _wish(row) for row in rows_among(connection, _WISHES, ids)}
        for row in rows_among(connection, _FAILED, ids):
            failed[row.server_id].append(row)
    return tuple(
        request_of(
            server,
            image_sha256=addresses.get(made_of[server.server_id], ""),
            image_properties=properties.get(made_of[server.server_id]),
            hints=hints.get(server.server_id),
            group=groups.get(server.server_id),
            ignored_hosts=frozenset(row.host_id for row in failed.get(server.server_id, ())),
            failures=tuple(
                (row.name or row.host_id, row.message) for row in failed.get(server.server_id, ())
            ),
            move=moves.get(server.server_id),
            shelved=saved.get(server.server_id),
        )
        for server in servers
    )


def _wish(row: Row[Any]) -> GroupWish:
    return GroupWish(
        group_id=row.group_id,
        policy=GroupPolicy(row.policy),
        max_server_per_host=1 if row.max_server_per_host is None else int(row.max_server_per_host),
    )


@answers(ListHostFacts)
def list_host_facts(connection: Connection, query: ListHostFacts) -> tuple[HostFacts, ...]:
    ids = sorted(query.host_ids)
    busy = {row.host_id: int(row.servers) for row in rows_or_all(connection, _BUSY, _BUSY_AMONG, ids)}
    held: dict[NodeId, set[ImageId]] = {}
    for row in rows_or_all(connection, _HOLDERS, _HOLDERS_AMONG, ids):
        held.setdefault(row.node_id, set()).add(row.image_id)
    offered = list_host_offers(connection, ListHostOffers(host_ids=query.host_ids))
    offers = {offer.host_id: offer for offer in offered}
    grants = grants_on_hosts(connection, ids)
    shared: dict[frozenset[str], frozenset[str]] = {}  # equal machines have one set: it is most of a host
    found = []
    for usage in list_hosts(connection, ListHosts(host_ids=query.host_ids)):
        host_id, offer = usage.host.host_id, offers.get(usage.host.host_id)
        traits = host_traits(usage.host, offer)
        found.append(
            HostFacts(
                host=usage.host,
                state=None,
                used=used_by(usage),
                offered={} if offer is None else offer.inventories,
                traits=shared.setdefault(traits, traits),
                servers=usage.servers,
                io_ops=busy.get(host_id, 0),
                images=frozenset(held.get(host_id, ())),
                told=NOTHING_TOLD if offer is None or grants is None else Told(offer.facts),
                held={} if grants is None else grants.get(host_id, {}),
            )
        )
    if query.except_server is not None:
        found = _without(connection, found, query.except_server)
    return tuple(found)


def _without(connection: Connection, found: list[HostFacts], server_id: ServerId) -> list[HostFacts]:
    """As if that server was nowhere, and on no way anywhere."""
    row = connection.execute(row_of_server(level_of(connection)), {"id": server_id}).first()
    if row is None or row.host_id is None:
        return found
    (request,) = _requests(connection, [row])
    is_at_work = is_busy(row.vm_state, row.task_state)
    held = [each for each in held_claims(connection, level_of(connection)) if each.server_id == server_id]
    claims_of = claims_at(level_of(connection))
    left = []
    for facts in found:
        if facts.host.host_id == row.host_id:
            facts = facts.without_claim(
                request.resources.total(), is_building=is_at_work, server_id=server_id
            )
        for each in held:
            if each.held_host_id == facts.host.host_id:
                facts = facts.without_held(claims_of(flavor_of(each)), server_id)
        left.append(facts)
    return left


@answers(GetSurroundings)
def get_surroundings(connection: Connection, query: GetSurroundings) -> Surroundings:
    placed = rows_among(connection, _PLACED, query.server_ids)
    server_hosts = {ServerId(row.server_id): NodeId(row.host_id) for row in placed}
    if not is_at(connection, level2.LEVEL):
        return Surroundings(server_hosts=server_hosts)
    group_hosts: dict[str, dict[NodeId, int]] = {}
    for row in rows_among(connection, _PLACED_MEMBERS, query.group_ids):
        if row.server_id != query.except_server:
            hosts = group_hosts.setdefault(row.group_id, {})
            hosts[row.host_id] = hosts.get(row.host_id, 0) + 1
    for row in _members_on_their_way(connection, query):
        hosts = group_hosts.setdefault(row.group_id, {})
        hosts[row.held_host_id] = hosts.get(row.held_host_id, 0) + 1
    aggregates = _aggregates(connection) if query.with_aggregates else ()
    return Surroundings(aggregates=aggregates, group_hosts=group_hosts, server_hosts=server_hosts)


def _members_on_their_way(connection: Connection, query: GetSurroundings) -> list[Row[Any]]:
    """Members that are about to come to a host, or may come back to it: they count there, too."""
    if not query.group_ids or not is_at(connection, level3.LEVEL):
        return []
    found = rows_among(connection, _MOVING_MEMBERS, query.group_ids)
    return [row for row in found if row.server_id != query.except_server]


def _aggregates(connection: Connection) -> tuple[AggregateFacts, ...]:
    return tuple(
        AggregateFacts(
            aggregate_id=each.aggregate_id,
            name=each.name,
            metadata=each.metadata,
            host_ids=frozenset(each.host_ids),
        )
        for each in list_aggregates(connection, ListAggregates())
    )
