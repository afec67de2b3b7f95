"""What is left of a host's cells and devices beside what its guests were given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fabric.core.topology.model import SMALL_PAGE_KB, CellGrant, Grant, HostCell, HostDevice, HostTopology
from fabric.core.topology.wish import GuestCell

MILLI = 1_000
KB_PER_MB = 1_024


@dataclass(frozen=True, slots=True, kw_only=True)
class CellRoom:
    """Below 0 where more was given than there is by now. `sold_mb` may be given of small pages if it does not
    matter whose, `small_mb` if they must be there; `pages`: huge ones, by size in KB."""

    cell: HostCell
    shared: int
    dedicated: int
    sold_mb: int
    small_mb: int
    pages: Mapping[int, int] = field(default_factory=dict)

    def page_kb(self, wanted: GuestCell) -> int | None:
        """Of which pages it would have that guest's node, 0 for any small ones; None: it cannot take it."""
        cell = self.cell
        if wanted.shared > cell.shared or wanted.shared > self.shared:
            return None
        if wanted.dedicated > cell.dedicated or wanted.dedicated > self.dedicated:
            return None
        if not wanted.page:
            return 0 if wanted.memory_mb <= min(cell.memory_mb, self.sold_mb) else None
        for size_kb in self._sizes(wanted.page):
            count, rest = divmod(wanted.memory_mb * KB_PER_MB, size_kb)
            has = self.small_mb * KB_PER_MB // size_kb if size_kb == SMALL_PAGE_KB else self.pages[size_kb]
            if not rest and count <= has:
                return size_kb
        return None

    def _sizes(self, page: str) -> Sequence[int]:
        """That would do, the largest first."""
        huge = sorted(self.pages, reverse=True)
        if page == "large":
            return huge
        if page == "any":
            return (*huge, SMALL_PAGE_KB)
        size_kb = SMALL_PAGE_KB if page == "small" else int(page)
        return (size_kb,) if size_kb == SMALL_PAGE_KB or size_kb in self.pages else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRoom:
    """`is_silent`: the host says nothing of its cells. `devices`: those that are free."""

    cells: tuple[CellRoom, ...] = ()
    devices: tuple[HostDevice, ...] = ()

    @property
    def is_silent(self) -> bool:
        return not self.cells

    def free(self, alias: str) -> int:
        """How many devices it could give by that name."""
        return sum(alias in device.aliases for device in self.devices)


def room_of(
    topology: HostTopology,
    given: Iterable[Grant],
    *,
    cpu_ratio_milli: int,
    memory_ratio_milli: int,
    dedicated_used: int,
) -> HostRoom:
    """`given`: to each guest that is there, or comes. `dedicated_used`: of all processors that guests have
    for themselves; what of it was given at no cell may be anywhere, and so counts at each."""
    grants = tuple(given)
    by_cell: dict[int, list[CellGrant]] = {}
    for grant in grants:
        for each in grant.cells:
            by_cell.setdefault(each.cell_id, []).append(each)
    known = {cell.cell_id for cell in topology.cells}
    at_cells = sum(each.dedicated for cell_id in known for each in by_cell.get(cell_id, ()))
    anywhere = max(0, dedicated_used - at_cells)
    return HostRoom(
        cells=tuple(
            _cell_room(cell, by_cell.get(cell.cell_id, ()), cpu_ratio_milli, memory_ratio_milli, anywhere)
            for cell in topology.cells
        ),
        devices=_free_devices(topology, grants),
    )


def _cell_room(
    cell: HostCell, given: Iterable[CellGrant], cpu_ratio_milli: int, memory_ratio_milli: int, anywhere: int
) -> CellRoom:
    shared = dedicated = small_mb = 0
    pages = dict(cell.pages)
    for each in given:
        shared += each.shared
        dedicated += each.dedicated
        if each.page_kb in (0, SMALL_PAGE_KB):
            small_mb += each.memory_mb
        elif each.page_kb in pages:
            pages[each.page_kb] -= each.memory_mb * KB_PER_MB // each.page_kb
    return CellRoom(
        cell=cell,
        shared=cell.shared * cpu_ratio_milli // MILLI - shared,
        dedicated=cell.dedicated - dedicated - anywhere,
        sold_mb=cell.memory_mb * memory_ratio_milli // MILLI - small_mb,
        small_mb=cell.memory_mb - small_mb,
        pages=pages,
    )


def _free_devices(topology: HostTopology, grants: Iterable[Grant]) -> tuple[HostDevice, ...]:
    """A physical function is free while none of its virtual ones is given, and the other way round."""
    taken = {device.address for grant in grants for device in grant.devices}
    if not taken:
        return topology.devices
    parents = {device.parent for device in topology.devices if device.address in taken}
    return tuple(
        device
        for device in topology.devices
        if device.address not in taken and device.address not in parents and device.parent not in taken
    )
