"""What is counted: RamFilter, CoreFilter, DiskFilter, and one filter for each other resource class.

Nova leaves this to Placement; the names are those that its filters had. A server never overcommits against
itself: it must fit the real machine, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from fabric.core.placement.changes import (
    Change,
    ask_otherwise,
    other_flavor,
    other_host,
    together,
    without_extra_specs,
)
from fabric.core.placement.filters.contract import Asked, HostFilter, Refusal
from fabric.core.placement.host_facts import HostFacts
from fabric.core.placement.host_table import OWN_CLASSES, HostTable, Ints, Mask
from fabric.core.placement.inventory import Inventory
from fabric.core.placement.request import PlacementRequest
from fabric.core.placement.resources import (
    CPU_POLICY,
    DEDICATED_MASK,
    DISK_GB,
    EMULATOR_POLICY,
    MEMORY_MB,
    MIXED,
    PCPU,
    THREAD_POLICY,
    VCPU,
    is_dedicated,
)

_OWN = frozenset(OWN_CLASSES)
_UNITS = {VCPU: "vCPUs", PCPU: "PCPUs", MEMORY_MB: "MB of memory", DISK_GB: "GB of disk"}
_LACKS = {
    VCPU: "not enough vCPUs",
    PCPU: "not enough dedicated processors",
    MEMORY_MB: "not enough memory",
    DISK_GB: "not enough disk",
}


class ResourceFilter:
    def __init__(self, name: str, resource_class: str) -> None:
        self.name = name
        self._class = resource_class

    def applies(self, request: PlacementRequest, table: HostTable) -> bool:
        return self._needed(request) > 0

    def _needed(self, request: PlacementRequest) -> int:
        return request.resources.unsuffixed.resources.get(self._class, 0)

    def passes(self, request: PlacementRequest, table: HostTable) -> Mask:
        return table.room_of(self._class) >= self._needed(request)

    def refusal(self, request: PlacementRequest, table: HostTable, place: int) -> Refusal:
        return _refusal(self.name, self._class, self._needed(request), table, place)

    def cures(self, request: PlacementRequest, table: HostTable, place: int) -> Iterable[Change]:
        return _cures(self._class, self._needed(request), request, table, place)


class OwnResources:
    """RamFilter, CoreFilter and DiskFilter as one, for those who need not know which of them refuses."""

    def applies(self, request: PlacementRequest, table: HostTable) -> bool:
        return True

    def passes(self, request: PlacementRequest, table: HostTable) -> Mask:
        needed = request.resources.unsuffixed.resources
        vcpus, memory_mb, disk_gb = _least(
            needed.get(VCPU, 0), needed.get(MEMORY_MB, 0), needed.get(DISK_GB, 0)
        )
        room = table.room
        return (room[VCPU] >= vcpus) & (room[MEMORY_MB] >= memory_mb) & (room[DISK_GB] >= disk_gb)


@lru_cache(maxsize=1_024)
def _least(*needed: int) -> tuple[Ints, ...]:
    """As arrays without a dimension, with which a column is compared in half the time that a number takes. Of
    what is not needed there may be less than nothing, where a ratio was lowered."""
    floor = np.iinfo(np.int64).min
    return tuple(np.array(amount if amount > 0 else floor, dtype=np.int64) for amount in needed)


class OtherResourcesFilter:
    """Placement's other classes (PCPU, VGPU, NET_BW_*, CUSTOM_*), numbered groups, and units in which an
    inventory is given: all but the sums of the three own ones.

    A host is one provider: nothing that it offers is below it, so numbered groups are added up and asked of
    the host as a whole, and `group_policy` has nothing to keep apart. What outsiders make below a host in
    Placement is theirs to allocate and is not looked at."""

    name = "ResourceClassFilter"

    def applies(self, request: PlacementRequest, table: HostTable) -> bool:
        return bool(self._asked(request))

    def _asked(self, request: PlacementRequest) -> dict[str, int]:
        own = request.resources.unsuffixed.resources
        if not request.resources.numbered and own.keys() <= _OWN:
            return {}
        return {
            name: amount
            for name, amount in request.resources.total().items()
            if name not in OWN_CLASSES or amount != own.get(name, 0)
        }

    def passes(self, request: PlacementRequest, table: HostTable) -> Mask:
        passing: Mask = np.ones(len(table), dtype=np.bool_)
        for name, amount in self._asked(request).items():
            passing &= table.room_of(name) >= amount
            passing &= table.mask(("units", name, amount), lambda facts, n=name, a=amount: _fits(facts, n, a))  # type: ignore[misc]
        return passing

    def refusal(self, request: PlacementRequest, table: HostTable, place: int) -> Refusal:
        name, amount = self._missing(request, table, place)[0]
        if int(table.room_of(name)[place]) >= amount:
            return Refusal(
                filter_name=self.name,
                reason=f"cannot give {name} in that amount",
                remark=f"cannot give {amount} of {name} to one server",
            )
        return _refusal(self.name, name, amount, table, place)

    def _missing(self, request: PlacementRequest, table: HostTable, place: int) -> list[tuple[str, int]]:
        facts = table.hosts[place]
        return [
            (name, amount)
            for name, amount in self._asked(request).items()
            if int(table.room_of(name)[place]) < amount or not _fits(facts, name, amount)
        ]

    def cures(self, request: PlacementRequest, table: HostTable, place: int) -> Iterable[Change]:
        """All that is missing at once: some of it would not do."""
        missing = self._missing(request, table, place)
        about = [_specs_about(name, request) for name, _ in missing]
        if all(about):
            yield without_extra_specs(*dict.fromkeys(key for keys in about for key in keys))
        each = [tuple(_cures(name, amount, request, table, place)) for name, amount in missing]
        if all(len(cures) > 1 for cures in each):
            yield together(*(cures[0] for cures in each))  # a smaller server
        yield together(*(cures[-1] for cures in each))


def _specs_about(name: str, request: PlacementRequest) -> list[str]:
    specs = request.flavor.extra_specs
    if name == PCPU and specs.get(CPU_POLICY) in ("dedicated", MIXED):
        return [
            each for each in (CPU_POLICY, THREAD_POLICY, EMULATOR_POLICY, DEDICATED_MASK) if each in specs
        ]
    return [key for key in specs if key.endswith(f":{name}")]


def _fits(facts: HostFacts, name: str, amount: int) -> bool:
    inventory = facts.inventory(name)
    return inventory is not None and inventory.fits_units(amount)


def _refusal(filter_name: str, name: str, needed: int, table: HostTable, place: int) -> Refusal:
    return Refusal(
        filter_name=filter_name,
        reason=_LACKS.get(name, f"not enough {name}"),
        needed=needed,
        free=int(table.room_of(name)[place]),
        unit=_UNITS.get(name, name),
    )


def _cures(
    name: str, needed: int, request: PlacementRequest, table: HostTable, place: int
) -> Iterable[Change]:
    """A smaller server first, for whoever asks can do that; then a larger host, or an emptier one."""
    room = int(table.room_of(name)[place])
    unit = _UNITS.get(name, name)
    if room > 0 and (smaller := _smaller(request, name, needed, room)) is not None:
        yield smaller
    facts = table.hosts[place]
    missing = needed - room
    yield other_host(
        f"{facts.host.name} had {missing} more {unit}",
        facts,
        {name: missing},
        lambda now: _grown(now, name, needed, missing),
        is_more=True,
    )


def _smaller(request: PlacementRequest, name: str, needed: int, room: int) -> Change | None:
    flavor = request.flavor
    key = f"resources:{name}"
    if key in flavor.extra_specs:
        specs = {**flavor.extra_specs, key: str(room)}
        return other_flavor(f"the flavor had {key}={room}", "flavor", {key: room}, extra_specs=specs)
    is_emulator_apart = name == PCPU and needed > flavor.vcpus
    vcpus = room - 1 if is_emulator_apart else room
    is_mixed = flavor.extra_specs.get(CPU_POLICY) == MIXED  # its mask says how many it has
    if (name == VCPU or (name == PCPU and is_dedicated(flavor.extra_specs))) and vcpus > 0 and not is_mixed:
        return other_flavor(f"the flavor had {vcpus} vCPUs", "flavor", {"vcpus": vcpus}, vcpus=vcpus)
    if name == MEMORY_MB:
        return other_flavor(f"the flavor had {room} MB of memory", "flavor", {"ram": room}, memory_mb=room)
    if name == DISK_GB and room >= needed - flavor.root_gb:
        root = room - (needed - flavor.root_gb)
        return other_flavor(
            f"the flavor had a root disk of {root} GB", "flavor", {"disk": root}, root_gb=root
        )
    if name == DISK_GB:
        return ask_otherwise(
            f"the flavor had {room} GB of disk in all",
            "flavor",
            {"disk": room, "ephemeral": 0, "swap": 0},
            lambda was: replace(was, flavor=replace(was.flavor, root_gb=room, ephemeral_gb=0, swap_mb=0)),
        )
    return None


def _grown(facts: HostFacts, name: str, needed: int, missing: int) -> HostFacts:
    """With so much more room: less of it used, and the machine as large as one server needs."""
    host = facts.host
    used: Mapping[str, int] = {**facts.used, name: facts.used.get(name, 0) - missing}
    if name == VCPU:
        host = replace(host, vcpus=max(host.vcpus, needed))
    elif name == MEMORY_MB:
        host = replace(host, memory_mb=max(host.memory_mb, needed))
    elif name not in OWN_CLASSES:
        has = facts.offered.get(name, Inventory(total=0))
        offered = {
            **facts.offered,
            name: replace(has, max_unit=max(has.max_unit, needed), min_unit=1, step_size=1),
        }
        return replace(facts, used=used, offered=offered)
    return replace(facts, used=used, host=host)


own_resources = OwnResources()
core_filter = ResourceFilter("CoreFilter", VCPU)
ram_filter = ResourceFilter("RamFilter", MEMORY_MB)
disk_filter = ResourceFilter("DiskFilter", DISK_GB)


def asked_together(filters: Sequence[HostFilter]) -> tuple[Asked, ...]:
    """Who passes the same hosts, with fewer questions."""
    three = (ram_filter, core_filter, disk_filter)
    others = tuple(each for each in filters if each not in three)
    return (own_resources, *others) if len(others) == len(filters) - len(three) else tuple(filters)
