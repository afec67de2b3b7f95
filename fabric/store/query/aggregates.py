"""Host aggregates, with their zone among their metadata as clients know it."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, select

from fabric.core.aggregates.model import ZONE_KEY, Aggregate
from fabric.core.aggregates.queries import GetAggregate, ListAggregates
from fabric.store import tables as t
from fabric.store.query.level import is_at
from fabric.store.query.registry import answers
from fabric.store.tables import level2
from proto.ids import NodeId

_A, _AH = level2.aggregates.c, level2.aggregate_hosts.c
_ALL = select(level2.aggregates).order_by(_A.aggregate_id)
_ONE = _ALL.where(_A.aggregate_id == bindparam("id"))
_HOSTS = (  # in the order in which hosts came to the fabric
    select(_AH.aggregate_id, _AH.host_id)
    .join(t.hosts, t.hosts.c.host_id == _AH.host_id)
    .order_by(_AH.aggregate_id, t.hosts.c.number)
)
_HOSTS_OF_ONE = _HOSTS.where(_AH.aggregate_id == bindparam("id"))


@answers(ListAggregates)
def list_aggregates(connection: Connection, query: ListAggregates) -> tuple[Aggregate, ...]:
    return _read(connection, _ALL, _HOSTS, {})


@answers(GetAggregate)
def get_aggregate(connection: Connection, query: GetAggregate) -> Aggregate | None:
    found = _read(connection, _ONE, _HOSTS_OF_ONE, {"id": query.aggregate_id})
    return found[0] if found else None


def _read(
    connection: Connection, aggregates: Select[Any], hosts: Select[Any], params: dict[str, Any]
) -> tuple[Aggregate, ...]:
    if not is_at(connection, level2.LEVEL):
        return ()
    members: dict[int, list[NodeId]] = defaultdict(list)
    for row in connection.execute(hosts, params):
        members[row.aggregate_id].append(row.host_id)
    return tuple(
        _aggregate(row, tuple(members.get(row.aggregate_id, ())))
        for row in connection.execute(aggregates, params)
    )


def _aggregate(row: Row[Any], host_ids: tuple[NodeId, ...]) -> Aggregate:
    zone = {} if row.availability_zone is None else {ZONE_KEY: row.availability_zone}
    return Aggregate(
        aggregate_id=row.aggregate_id,
        uuid=row.uuid,
        name=row.name,
        metadata=dict(row.metadata) | zone,
        host_ids=host_ids,
        created_ms=row.created_ms,
        updated_ms=row.updated_ms,
    )
