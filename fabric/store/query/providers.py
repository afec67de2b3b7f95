"""Resource providers: what hosts offer, what servers hold of them, and what outsiders keep here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, select

from fabric.core.nodes.model import Host
from fabric.core.placement.inventory import Inventory
from fabric.core.providers.claims import added
from fabric.core.providers.model import (
    INSTANCE,
    MIGRATION,
    Amounts,
    Consumer,
    HostOffer,
    NamedRow,
    OutsideProvider,
    ProviderRows,
    host_id_of,
    provider_id_of,
)
from fabric.core.providers.queries import (
    GetProviderRows,
    ListConsumers,
    ListHostOffers,
    ListResourceClasses,
    ListTraits,
)
from fabric.store import tables as t
from fabric.store.claims import SIZES, claims_at, flavor_of
from fabric.store.query.among import among, rows_or_all
from fabric.store.query.held import held_by_host, held_claims
from fabric.store.query.level import is_at, level_of
from fabric.store.query.registry import answers
from fabric.store.tables import level2 as t2
from proto.ids import NodeId

_S, _A = t.servers.c, t2.outside_allocations.c
_HOSTS = select(t.hosts).order_by(t.hosts.c.number)
_OFFERS = select(t2.host_offers).order_by(t2.host_offers.c.host_id)
_OFFERS_AMONG = _OFFERS.where(among(t2.host_offers.c.host_id))
_CLAIMED = (
    select(_S.host_id, *SIZES, func.count().label("servers"))
    .where(_S.host_id.is_not(None))
    .group_by(_S.host_id, *SIZES)
)
_SERVERS = (
    select(_S.server_id, _S.project_id, _S.user_id, _S.host_id, _S.generation, _S.updated_ms, *SIZES)
    .where(_S.host_id.is_not(None))
    .order_by(_S.server_id)
)
_AGGREGATES = (
    select(t2.aggregate_hosts.c.host_id, t2.aggregates.c.uuid)
    .join(t2.aggregates, t2.aggregates.c.aggregate_id == t2.aggregate_hosts.c.aggregate_id)
    .order_by(t2.aggregate_hosts.c.host_id, t2.aggregates.c.uuid)
)
_OUTSIDE = select(t2.outside_providers).order_by(
    t2.outside_providers.c.created_ms, t2.outside_providers.c.provider_id
)
_OUTSIDE_USED = select(_A.provider_id, _A.resource_class, func.sum(_A.used).label("used")).group_by(
    _A.provider_id, _A.resource_class
)
_OUTSIDE_HELD = (
    select(t2.outside_consumers, _A.provider_id, _A.resource_class, _A.used)
    .join(t2.outside_allocations, _A.consumer_id == t2.outside_consumers.c.consumer_id)
    .order_by(t2.outside_consumers.c.consumer_id, _A.provider_id, _A.resource_class)
)


@answers(ListHostOffers)
def list_host_offers(connection: Connection, query: ListHostOffers) -> tuple[HostOffer, ...]:
    if not is_at(connection, t2.LEVEL):
        return ()
    return tuple(
        HostOffer(
            host_id=row.host_id,
            inventories=inventories_of(row.inventories),
            traits=tuple(row.traits),
            facts=row.facts,
            updated_ms=row.updated_ms,
        )
        for row in rows_or_all(connection, _OFFERS, _OFFERS_AMONG, sorted(query.host_ids))
    )


@answers(GetProviderRows)
def get_provider_rows(connection: Connection, query: GetProviderRows) -> ProviderRows:
    hosts = tuple(Host(**row._mapping) for row in connection.execute(_HOSTS))
    used: dict[str, dict[str, int]] = {}
    if query.with_used:
        level = level_of(connection)
        claims_of = claims_at(level)
        for host_id, held in held_by_host(connection, level).items():
            added(used.setdefault(provider_id_of(NodeId(host_id)), {}), held)
        for row in connection.execute(_CLAIMED):
            added(used.setdefault(provider_id_of(row.host_id), {}), claims_of(flavor_of(row)), row.servers)
    if not is_at(connection, t2.LEVEL):
        return ProviderRows(hosts=hosts, used=used)
    if query.with_used:
        for row in connection.execute(_OUTSIDE_USED):
            added(used.setdefault(row.provider_id, {}), {row.resource_class: int(row.used)})
    aggregates: dict[NodeId, list[str]] = {}
    for row in connection.execute(_AGGREGATES):
        aggregates.setdefault(row.host_id, []).append(row.uuid)
    return ProviderRows(
        hosts=hosts,
        offers={offer.host_id: offer for offer in list_host_offers(connection, ListHostOffers())},
        aggregates={host_id: tuple(uuids) for host_id, uuids in aggregates.items()},
        outside=tuple(_outside(row) for row in connection.execute(_OUTSIDE)),
        used=used,
    )


@answers(ListConsumers)
def list_consumers(connection: Connection, query: ListConsumers) -> tuple[Consumer, ...]:
    servers = _SERVERS
    conditions = _owned_by(query, t.servers.c, _S.server_id)
    if query.provider_id is not None:
        conditions.append(_S.host_id == host_id_of(query.provider_id))
    level = level_of(connection)
    claims_of = claims_at(level)
    rows = connection.execute(servers.where(*conditions))
    found = [_server(row, claims_of(flavor_of(row))) for row in rows]
    held = [_move(row, claims_of(flavor_of(row))) for row in held_claims(connection, level)]
    found += sorted((each for each in held if _is_wanted(each, query)), key=lambda each: each.consumer_id)
    if is_at(connection, t2.LEVEL):
        found += _outside_consumers(connection, query)
    return tuple(found)


@answers(ListResourceClasses)
def list_resource_classes(connection: Connection, query: ListResourceClasses) -> tuple[NamedRow, ...]:
    return tuple(_named(connection, t2.resource_classes))


@answers(ListTraits)
def list_traits(connection: Connection, query: ListTraits) -> tuple[NamedRow, ...]:
    return tuple(_named(connection, t2.traits))


def inventories_of(plain: Mapping[str, Mapping[str, int]]) -> dict[str, Inventory]:
    """As the rows have them."""
    return {name: Inventory(**plain[name]) for name in sorted(plain)}


def _named(connection: Connection, table: Any) -> Iterator[NamedRow]:
    if is_at(connection, t2.LEVEL):
        for row in connection.execute(select(table).order_by(table.c.name)):
            yield NamedRow(name=row.name, created_ms=row.created_ms)


def _outside(row: Row[Any]) -> OutsideProvider:
    return OutsideProvider(
        provider_id=row.provider_id,
        name=row.name,
        parent_id=row.parent_id,
        generation=row.generation,
        inventories=inventories_of(row.inventories),
        traits=tuple(row.traits),
        aggregates=tuple(row.aggregates),
        updated_ms=row.updated_ms,
    )


def _owned_by(query: ListConsumers, columns: Any, consumer_id: Any) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if query.consumer_ids:
        conditions.append(consumer_id.in_(query.consumer_ids))
    if query.project_id is not None:
        conditions.append(columns.project_id == query.project_id)
    if query.user_id is not None:
        conditions.append(columns.user_id == query.user_id)
    return conditions


def _server(row: Any, claims: Amounts) -> Consumer:
    return Consumer(
        consumer_id=row.server_id,
        project_id=row.project_id,
        user_id=row.user_id,
        consumer_type=INSTANCE,
        generation=row.generation,
        is_server=True,
        allocations={provider_id_of(row.host_id): claims},
        updated_ms=row.updated_ms,
    )


def _move(row: Any, claims: Amounts) -> Consumer:
    """The other end of a move under way: as in Nova, the move itself is what holds it."""
    return Consumer(
        consumer_id=row.move_id,
        project_id=row.project_id,
        user_id=row.user_id,
        consumer_type=MIGRATION,
        generation=row.number,
        is_server=True,
        allocations={provider_id_of(row.held_host_id): claims},
        updated_ms=row.updated_ms,
    )


def _is_wanted(consumer: Consumer, query: ListConsumers) -> bool:
    """Where there are so few that a database need not choose."""
    return (
        (not query.consumer_ids or consumer.consumer_id in query.consumer_ids)
        and query.project_id in (None, consumer.project_id)
        and query.user_id in (None, consumer.user_id)
        and (query.provider_id is None or query.provider_id in consumer.allocations)
    )


def _outside_consumers(connection: Connection, query: ListConsumers) -> list[Consumer]:
    conditions = _owned_by(query, t2.outside_consumers.c, t2.outside_consumers.c.consumer_id)
    if query.provider_id is not None:
        conditions.append(_A.provider_id == query.provider_id)
    held: dict[str, list[Row[Any]]] = {}
    for row in connection.execute(_OUTSIDE_HELD.where(*conditions)):
        held.setdefault(row.consumer_id, []).append(row)
    return [_outside_consumer(rows) for rows in held.values()]


def _outside_consumer(rows: Sequence[Row[Any]]) -> Consumer:
    allocations: dict[str, dict[str, int]] = {}
    for row in rows:
        allocations.setdefault(row.provider_id, {})[row.resource_class] = row.used
    first = rows[0]
    return Consumer(
        consumer_id=first.consumer_id,
        project_id=first.project_id,
        user_id=first.user_id,
        consumer_type=first.consumer_type,
        generation=first.generation,
        is_server=False,
        allocations=allocations,
        updated_ms=first.updated_ms,
    )
