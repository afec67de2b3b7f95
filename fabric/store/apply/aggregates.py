"""Host aggregates. A host is in one zone at most, and its servers never change theirs. Messages in Nova's
words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import bindparam, delete, func, insert, select, update

from fabric.core.aggregates.model import ZONE_KEY
from fabric.store import tables as t
from fabric.store.apply.context import ApplyContext, Result, reject, single
from fabric.store.apply.held import held_on
from fabric.store.apply.host_zone import zone_of
from fabric.store.apply.lookups import need_host
from fabric.store.apply.numbers import next_number
from fabric.store.apply.registry import handles
from fabric.store.prepared import AnyRow, prepared
from fabric.store.tables import level2
from proto.commands.aggregates import (
    AggregateAddHost,
    AggregateCreate,
    AggregateDelete,
    AggregateRemoveHost,
    AggregateSetMetadata,
    AggregateUpdate,
)

NUMBER = "aggregate_number"

_A, _AH = level2.aggregates.c, level2.aggregate_hosts.c
_ONE = single(select(level2.aggregates).where(_A.aggregate_id == bindparam("id")))
_HOSTS = (
    select(t.hosts)
    .join(level2.aggregate_hosts, _AH.host_id == t.hosts.c.host_id)
    .where(_AH.aggregate_id == bindparam("id"))
    .order_by(t.hosts.c.number)
)
_ZONES_ELSEWHERE = (  # of a host, by its other aggregates
    select(_A.availability_zone)
    .join(level2.aggregate_hosts, _AH.aggregate_id == _A.aggregate_id)
    .where(
        _AH.host_id == bindparam("host_id"),
        _A.aggregate_id != bindparam("id"),
        _A.availability_zone.is_not(None),
    )
    .order_by(_A.availability_zone)
)
_SERVERS_ON = single(select(func.count()).where(t.servers.c.host_id == bindparam("host_id")))
_HOST_LEAVES = prepared(delete(level2.aggregate_hosts).where(_AH.host_id == bindparam("left")))

Refuse = Callable[[str], Any]  # with the reason, in the words of the action


@handles(AggregateCreate, lambda command: command.uuid)
def create_aggregate(context: ApplyContext, command: AggregateCreate) -> Result:
    """Result: `aggregate_id`."""
    _need_free_name(context, command.name)
    if context.exists(single(select(_A.uuid).where(_A.uuid == command.uuid))):
        reject("conflict", f"Aggregate {command.uuid} already exists.")
    number = next_number(context, NUMBER)
    context.write(
        insert(level2.aggregates),
        {
            "aggregate_id": number,
            "uuid": command.uuid,
            "name": command.name,
            "availability_zone": command.availability_zone or None,
            "metadata": {},
            "created_ms": context.time_ms,
            "updated_ms": None,
        },
    )
    return {"aggregate_id": number}


@handles(AggregateUpdate, lambda command: str(command.aggregate_id))
def update_aggregate(context: ApplyContext, command: AggregateUpdate) -> Result:
    row = _need(context, command.aggregate_id)
    values: dict[str, Any] = {}
    if command.name is not None and command.name != row.name:
        _need_free_name(context, command.name)
        values["name"] = command.name
    if command.availability_zone is not None:
        refuse = _refusing("invalid", f"Cannot update aggregate {row.aggregate_id}")
        _check_new_zone(context, row, command.availability_zone, refuse)
        values["availability_zone"] = command.availability_zone
    _write(context, row, values)
    return {}


@handles(AggregateSetMetadata, lambda command: str(command.aggregate_id))
def set_aggregate_metadata(context: ApplyContext, command: AggregateSetMetadata) -> Result:
    row = _need(context, command.aggregate_id)
    refuse = _refusing("invalid", f"Cannot update metadata of aggregate {row.aggregate_id}")
    if ZONE_KEY in command.unset:
        _check_new_zone(context, row, "", refuse)
    kept = {key: value for key, value in row.metadata.items() if key not in command.unset}
    metadata = {**kept, **command.changes}
    values: dict[str, Any] = {"metadata": metadata}
    if ZONE_KEY in metadata:
        zone = values["availability_zone"] = metadata.pop(ZONE_KEY)
        _check_new_zone(context, row, zone, refuse)
    _write(context, row, values)
    return {}


@handles(AggregateAddHost, lambda command: str(command.aggregate_id))
def add_host(context: ApplyContext, command: AggregateAddHost) -> Result:
    row = _need(context, command.aggregate_id)
    host = need_host(context, command.host_id)
    refuse = _refusing("conflict", f"Cannot add host to aggregate {row.aggregate_id}")
    if row.availability_zone is not None:
        _check_elsewhere(context, row, [host], row.availability_zone, refuse)
        _check_servers_stay(context, row.availability_zone, host, refuse)
    if _has_host(context, row, command.host_id):
        reject("conflict", f"Aggregate {row.aggregate_id} already has host {host.name}.")
    context.write(
        insert(level2.aggregate_hosts), {"aggregate_id": row.aggregate_id, "host_id": command.host_id}
    )
    return {}


@handles(AggregateRemoveHost, lambda command: str(command.aggregate_id))
def remove_host(context: ApplyContext, command: AggregateRemoveHost) -> Result:
    row = _need(context, command.aggregate_id)
    host = need_host(context, command.host_id)
    if not _has_host(context, row, command.host_id):
        reject("not_found", f"Aggregate {row.aggregate_id} has no host {host.name}.")
    if row.availability_zone is not None:
        found = context.rows(_ZONES_ELSEWHERE, {"host_id": command.host_id, "id": row.aggregate_id})
        after = str(found[0].availability_zone) if found else str(host.zone)
        refuse = _refusing("conflict", f"Cannot remove host from aggregate {row.aggregate_id}")
        _check_servers_stay(context, after, host, refuse)
    at = (_AH.aggregate_id == row.aggregate_id) & (_AH.host_id == command.host_id)
    context.write(delete(level2.aggregate_hosts).where(at))
    return {}


@handles(AggregateDelete, lambda command: str(command.aggregate_id))
def delete_aggregate(context: ApplyContext, command: AggregateDelete) -> Result:
    row = _need(context, command.aggregate_id)
    if context.rows(_HOSTS, {"id": row.aggregate_id}):
        reject(
            "invalid",
            f"Cannot remove host from aggregate {row.aggregate_id}. Reason: Host aggregate is not empty.",
        )
    context.write(delete(level2.aggregates).where(_A.aggregate_id == row.aggregate_id))
    return {}


def leave_aggregates(context: ApplyContext, host_id: str) -> None:
    """When the host leaves the fabric. At level 1 there are none."""
    if context.is_at(level2.LEVEL):
        context.write(_HOST_LEAVES, {"left": host_id})


def _need(context: ApplyContext, aggregate_id: int) -> AnyRow:
    return context.row(_ONE, {"id": aggregate_id}) or reject(
        "not_found", f"Aggregate {aggregate_id} could not be found."
    )


def _need_free_name(context: ApplyContext, name: str) -> None:
    if context.exists(single(select(_A.aggregate_id).where(_A.name == name))):
        reject("conflict", f"Aggregate {name} already exists.")


def _has_host(context: ApplyContext, row: AnyRow, host_id: str) -> bool:
    at = (_AH.aggregate_id == row.aggregate_id) & (_AH.host_id == host_id)
    return context.exists(single(select(_AH.host_id).where(at)))


def _write(context: ApplyContext, row: AnyRow, values: dict[str, Any]) -> None:
    where = _A.aggregate_id == row.aggregate_id
    context.write(update(level2.aggregates).where(where).values(**values, updated_ms=context.time_ms))


# ---- zones


def _refusing(reason: str, opening: str) -> Refuse:
    return lambda why: reject(reason, f"{opening}. Reason: {why}.")


def _check_new_zone(context: ApplyContext, row: AnyRow, zone: str, refuse: Refuse) -> None:
    """The aggregate may become that zone."""
    if not zone:
        refuse(f"Aggregate {row.name} does not support empty named availability zone")
    hosts = context.rows(_HOSTS, {"id": row.aggregate_id})
    _check_elsewhere(context, row, hosts, zone, refuse)
    if any(zone_of(context, host) != zone and _servers_on(context, host) for host in hosts):
        refuse("One or more hosts contain instances in this zone")


def _check_elsewhere(
    context: ApplyContext, row: AnyRow, hosts: Sequence[AnyRow], zone: str, refuse: Refuse
) -> None:
    """No other aggregate puts one of the hosts into another zone."""
    others = [
        str(found.availability_zone)
        for host in hosts
        for found in context.rows(_ZONES_ELSEWHERE, {"host_id": host.host_id, "id": row.aggregate_id})
        if found.availability_zone != zone
    ]
    if others:
        named = ", ".join(sorted(set(others)))
        refuse(f"One or more hosts already in availability zone(s) {named}")


def _check_servers_stay(context: ApplyContext, after: str, host: AnyRow, refuse: Refuse) -> None:
    """A server's zone never changes under it."""
    before, count = zone_of(context, host), _servers_on(context, host)
    if count and before != after:
        refuse(
            f"The availability zone of host {host.name} would change from '{before}' to '{after}' but the "
            f"host already has {count} instance(s). Move them away from this host, then try again"
        )


def _servers_on(context: ApplyContext, host: AnyRow) -> int:
    on_their_way = held_on(context, host.host_id)
    return context.number(_SERVERS_ON, {"host_id": host.host_id}) + len(on_their_way)
