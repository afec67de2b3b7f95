"""Whether a host has room for one server more, counted from servers' rows and nothing else."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import BigInteger, bindparam, literal_column, select

from fabric.core.placement.resources import DISK_GB, MEMORY_MB, PCPU, VCPU
from fabric.core.providers.claims import added
from fabric.store import tables as t
from fabric.store.apply.context import ApplyContext, reject, single
from fabric.store.apply.held import with_held
from fabric.store.apply.inventories import inventory_of
from fabric.store.claims import MB_PER_GB, SAY_OTHERWISE, SIZES, beyond_sums, claims_at, flavor_of, sums
from fabric.store.prepared import AnyRow, kept, prepared
from fabric.store.tables import level2

MILLI = 1_000

_ON_HOST = t.servers.c.host_id == bindparam("host_id")
_SUMS_BEFORE = prepared(single(select(*sums(1)).where(_ON_HOST)))
_SUMS = prepared(single(select(*sums(level2.LEVEL)).where(_ON_HOST)))
_OTHERWISE = prepared(  # in the order of their index
    select(*SIZES, literal_column("1", BigInteger).label("servers"))
    .where(_ON_HOST, SAY_OTHERWISE)
    .order_by(t.servers.c.server_id)
)
_OFFER = kept(single(select(level2.host_offers).where(level2.host_offers.c.host_id == bindparam("host_id"))))
_UNITS = {VCPU: "vCPUs", MEMORY_MB: "MB memory", DISK_GB: "GB disk"}


def need_room(context: ApplyContext, host: AnyRow, server: AnyRow) -> None:
    """Rejects `no_capacity` naming every resource class that is short, and how much of it is free. Capacity
    as Placement defines it: (total - reserved) * allocation ratio.

    No server may be larger than the machine, whatever the ratio. Below level 2 that is not looked at, and the
    flavor's numbers count, whatever its extra specs say, and no other class."""
    if context.is_at(level2.LEVEL):
        short = _short(context, host, server)
    else:
        short = _short_before_level_2(context, host, server)
    if short:
        reject(
            "no_capacity", f"Compute host {host.name} has no room for {server.server_id}: {'; '.join(short)}."
        )


def dedicated_on(context: ApplyContext, host: AnyRow, *, except_server: str) -> int:
    """How many processors other servers have, or hold, there for themselves."""
    used = with_held(context, host.host_id, _used(context, host), except_server=except_server)
    return used.get(PCPU, 0)


def _short(context: ApplyContext, host: AnyRow, server: AnyRow) -> list[str]:
    wanted = claims_at(context.level)(flavor_of(server))
    used = with_held(context, host.host_id, _used(context, host), except_server=server.server_id)
    own = _capacities(host)
    machine = {VCPU: host.vcpus, MEMORY_MB: host.memory_mb}
    short = []
    for name, unit in _UNITS.items():
        amount = wanted.get(name, 0)
        if amount and used[name] + amount > own[name]:
            short.append(f"{amount} {unit} wanted, {max(own[name] - used[name], 0)} of {own[name]} free")
        elif amount > machine.get(name, amount):
            short.append(f"{amount} {unit} wanted, more than the {machine[name]} of the machine")
    others = {name: amount for name, amount in wanted.items() if name not in own}
    if others:
        short += _short_of_offered(context, host, others, used)
    return short


def _used(context: ApplyContext, host: AnyRow) -> dict[str, int]:
    row = context.row(_SUMS, {"host_id": host.host_id})
    assert row is not None
    used = {name: int(row[place] or 0) for place, name in enumerate((VCPU, MEMORY_MB, DISK_GB))}
    rows = context.rows(_OTHERWISE, {"host_id": host.host_id})
    return added(used, beyond_sums(context.level, rows)) if rows else used


def _capacities(host: AnyRow) -> dict[str, int]:
    return {
        VCPU: host.vcpus * host.cpu_ratio_milli // MILLI,
        MEMORY_MB: (host.memory_mb - host.reserved_memory_mb) * host.memory_ratio_milli // MILLI,
        DISK_GB: host.disk_gb * host.disk_ratio_milli // MILLI,
    }


def _short_of_offered(
    context: ApplyContext, host: AnyRow, wanted: Mapping[str, int], used: Mapping[str, int]
) -> list[str]:
    offer = context.row(_OFFER, {"host_id": host.host_id})
    inventories = {} if offer is None else offer.inventories
    short = []
    for name, amount in wanted.items():
        inventory = inventory_of(inventories[name]) if name in inventories else None
        held = used.get(name, 0)
        if inventory is None:
            short.append(f"{amount} {name} wanted, none offered")
        elif not inventory.takes(amount, held):
            free = max(inventory.capacity - held, 0)
            short.append(f"{amount} {name} wanted, {free} of {inventory.capacity} free")
    return short


def _short_before_level_2(context: ApplyContext, host: AnyRow, server: AnyRow) -> list[str]:
    """A swap disk counts as whole GB, rounded up over the host."""
    row = context.row(_SUMS_BEFORE, {"host_id": host.host_id})
    assert row is not None
    vcpus, memory_mb, disk_gb, swap_mb = (int(value or 0) for value in row)
    capacities = _capacities(host)
    offers = (
        (VCPU, vcpus, server.vcpus),
        (MEMORY_MB, memory_mb, server.memory_mb),
        (
            DISK_GB,
            disk_gb + _gb(swap_mb),
            server.root_gb + server.ephemeral_gb + _gb(swap_mb + server.swap_mb) - _gb(swap_mb),
        ),
    )
    return [
        f"{wanted} {_UNITS[name]} wanted, {max(capacities[name] - used, 0)} of {capacities[name]} free"
        for name, used, wanted in offers
        if used + wanted > capacities[name]
    ]


def _gb(megabytes: int) -> int:
    return -(-megabytes // MB_PER_GB)
