"""Cells, devices, flavors and rooms with defaults, for tests of topology."""

from __future__ import annotations

from typing import Any

from fabric.core.servers.model import FlavorSnapshot
from fabric.core.topology.model import Affinity, Grant, HostCell, HostDevice, HostTopology
from fabric.core.topology.room import HostRoom, room_of
from fabric.core.topology.wish import TopologyWish, wish_of
from tests.fixtures.compute_rows import flavor

CARD = "0000:81:00.0"
DEDICATED = {"hw:cpu_policy": "dedicated"}


def sized(vcpus: int = 4, memory_mb: int = 4_096, **specs: str) -> FlavorSnapshot:
    """`__` in a key stands for a colon, `_at_` for a dot."""
    named = {key.replace("__", ":").replace("_at_", "."): value for key, value in specs.items()}
    return flavor(vcpus=vcpus, memory_mb=memory_mb, extra_specs=named)


def wish(vcpus: int = 4, memory_mb: int = 4_096, **specs: str) -> TopologyWish:
    found = wish_of(sized(vcpus, memory_mb, **specs))
    assert found is not None
    return found


def device(
    address: str = CARD, *aliases: str, cell_id: int | None = None, affinity: str = "legacy", parent: str = ""
) -> HostDevice:
    names = {alias: Affinity(affinity) for alias in aliases or ("gpu",)}
    return HostDevice(address=address, aliases=names, cell_id=cell_id, parent=parent)


def room(cells: Any = (), devices: Any = (), given: Any = (), **changes: int) -> HostRoom:
    how = {"cpu_ratio_milli": 1_000, "memory_ratio_milli": 1_000, "dedicated_used": 0} | changes
    if "dedicated_used" not in changes:
        how["dedicated_used"] = sum(each.dedicated for grant in given for each in grant.cells)
    return room_of(HostTopology(cells=tuple(cells), devices=tuple(devices)), given, **how)


def cells_of(grant: Grant | None) -> list[int] | None:
    return None if grant is None else [each.cell_id for each in grant.cells]


def addresses_of(grant: Grant | None) -> list[str] | None:
    return None if grant is None else [each.address for each in grant.devices]


def two_cells(**changes: Any) -> tuple[HostCell, HostCell]:
    fields: dict[str, Any] = {"memory_mb": 4_096, "shared": 4} | changes
    return HostCell(cell_id=0, **fields), HostCell(cell_id=1, **fields | {"socket": 1})
