"""Which cells and devices of a host a guest is given: scheduler and `apply` decide it here, and alike.

Each NUMA node of a guest has a cell of its own. Cells with devices are kept for guests that want some; of
others the emptiest is taken, as Nova does. Where devices have to be near, which cells are taken decides which
devices there are, so ways are tried one after the other, TRIES_MAX of them: a host where none of those does
refuses, though one that was not tried might.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from fabric.core.topology.matching import match
from fabric.core.topology.model import Affinity, CellGrant, DeviceGrant, Grant, HostDevice
from fabric.core.topology.room import CellRoom, HostRoom
from fabric.core.topology.wish import GuestCell, TopologyWish

TRIES_MAX = 2_000
CARDS_TRIED = 6  # cards of which both whole and parts would do for one guest: twice as many ways for each
CELLS_TOLD = 8


def give(room: HostRoom, wish: TopologyWish) -> Grant | None:
    """None: there is no room for it."""
    wants_cells = bool(wish.cells) and (wish.is_explicit or not room.is_silent)
    if not wants_cells:
        devices = _devices(room, wish, ())
        return None if devices is None else Grant(devices=devices)
    for cells in _ways(room, wish):
        devices = _devices(room, wish, cells)
        if devices is not None:
            return Grant(cells=_cell_grants(wish, cells), devices=devices)
    return None


def shortage(room: HostRoom, wish: TopologyWish) -> str:
    """Why it cannot be given, for people."""
    for alias, count in wish.devices.items():
        if room.free(alias) < count:
            return f"{count} PCI devices {alias} wanted, {room.free(alias)} free"
    if wish.cells and room.is_silent:
        return "NUMA nodes wanted, and it says nothing of its own"
    if next(_ways(room, wish), None) is None:
        return f"{_said(wish.cells)} wanted, free are {_free(room.cells)}"
    return "PCI devices wanted, and those that are free are not where its NUMA nodes have room"


# ---- cells


def _ways(room: HostRoom, wish: TopologyWish) -> Iterator[tuple[CellRoom, ...]]:
    """Cells for each of the guest's, the best way first. More than one only where devices are wanted."""
    ranked = sorted(room.cells, key=lambda each: _rank(each, room, wish))
    choices = [
        [at for at, each in enumerate(ranked) if each.page_kb(wanted) is not None] for wanted in wish.cells
    ]
    first = match(choices, len(ranked))
    if first is None:
        return
    yield tuple(ranked[at] for at in first)
    if wish.devices:
        for way in _others(choices):
            yield tuple(ranked[at] for at in way)


def _others(choices: Sequence[Sequence[int]]) -> Iterator[tuple[int, ...]]:
    """All ways, in order, until TRIES_MAX steps were made."""
    tries = 0
    stack: list[tuple[int, ...]] = [()]
    while stack and tries < TRIES_MAX:
        tries += 1
        way = stack.pop()
        if len(way) == len(choices):
            yield way
            continue
        stack += [(*way, at) for at in reversed(choices[len(way)]) if at not in way]


def _rank(each: CellRoom, room: HostRoom, wish: TopologyWish) -> tuple[int, ...]:
    """The less the better."""
    nearness = 0
    for device in room.devices:
        if device.cell_id == each.cell.cell_id:
            if not wish.devices:
                nearness += 1
            elif any(alias in device.aliases for alias in wish.devices):
                nearness -= 1
    return nearness, -each.dedicated, -each.shared, -each.sold_mb, each.cell.cell_id


def _cell_grants(wish: TopologyWish, cells: Sequence[CellRoom]) -> tuple[CellGrant, ...]:
    grants = []
    for wanted, each in zip(wish.cells, cells, strict=True):
        page_kb = each.page_kb(wanted)
        assert page_kb is not None
        grants.append(
            CellGrant(
                cell_id=each.cell.cell_id,
                vcpus=wanted.vcpus,
                memory_mb=wanted.memory_mb,
                shared=wanted.shared,
                dedicated=wanted.dedicated,
                page_kb=page_kb,
            )
        )
    return tuple(grants)


# ---- devices


def _devices(room: HostRoom, wish: TopologyWish, cells: Sequence[CellRoom]) -> tuple[DeviceGrant, ...] | None:
    if not wish.devices:
        return ()
    at = {each.cell.cell_id for each in cells}
    sockets = {each.cell.cell_id: each.cell.socket for each in room.cells}
    near = {cell_id for cell_id, socket in sockets.items() if socket in {sockets[one] for one in at}}
    by_nearness = sorted(room.devices, key=lambda device: device.cell_id not in at)  # else as the host tells
    units = [alias for alias, count in wish.devices.items() for _ in range(count)]
    suitable = [
        device
        for device in by_nearness
        if any(_suits(device, alias, wish, at, near) for alias in wish.devices)
    ]
    chosen = _matched(
        suitable,
        lambda devices: [
            [place for place, device in enumerate(devices) if _suits(device, alias, wish, at, near)]
            for alias in units
        ],
    )
    if chosen is None:
        return None
    return tuple(
        DeviceGrant(alias=alias, address=device.address) for alias, device in zip(units, chosen, strict=True)
    )


def _matched(
    devices: Sequence[HostDevice],
    choices: Callable[[Sequence[HostDevice]], Sequence[Sequence[int]]],
    tries: int = CARDS_TRIED,
) -> list[HostDevice] | None:
    """A device for each unit, no card beside a part of it. Where it comes to that, those parts go without
    the card, and then the card without its parts."""
    got = match(choices(devices), len(devices))
    if got is None:
        return None
    chosen = [devices[place] for place in got]
    addresses = {device.address for device in chosen}
    card = next((device.parent for device in chosen if device.parent in addresses), None)
    if card is None:
        return chosen
    if not tries:
        return None
    for left in (
        [device for device in devices if device.address != card],
        [device for device in devices if device.parent != card],
    ):
        found = _matched(left, choices, tries - 1)
        if found is not None:
            return found
    return None


def _suits(device: HostDevice, alias: str, wish: TopologyWish, at: set[int], near: set[int]) -> bool:
    if alias not in device.aliases:
        return False
    return not at or _is_near(device, wish.affinity or device.aliases[alias], at, near)


def _is_near(device: HostDevice, affinity: Affinity, at: set[int], near: set[int]) -> bool:
    if affinity is Affinity.PREFERRED:
        return True
    if affinity is Affinity.SOCKET:
        return device.cell_id in near
    if device.cell_id is None:
        return affinity is Affinity.LEGACY
    return device.cell_id in at


# ---- words


def _said(cells: Sequence[GuestCell]) -> str:
    first = cells[0]
    kind = "dedicated CPUs" if first.dedicated else "CPUs"
    pages = f" in {first.page} pages" if first.page else ""
    count = "1 NUMA node" if len(cells) == 1 else f"{len(cells)} NUMA nodes"
    return f"{count} of {first.dedicated or first.shared} {kind} and {first.memory_mb} MB{pages}"


def _free(cells: Sequence[CellRoom]) -> str:
    told = [
        f"{max(0, each.shared)} CPUs, {max(0, each.dedicated)} dedicated, {max(0, each.sold_mb)} MB"
        + "".join(f", {max(0, count)} pages of {size} KB" for size, count in sorted(each.pages.items()))
        + f" at cell {each.cell.cell_id}"
        for each in cells[:CELLS_TOLD]
    ]
    more = len(cells) - len(told)
    return "; ".join(told) + (f"; and {more} more cells" if more else "")
