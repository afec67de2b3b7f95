"""What is left at the cells of all hosts, side by side, so that a wish is some comparisons and not a look at
each host: to read what one tells and to add up what was given of it takes 40 us.

Which hosts have cells for a guest is exact. Each of its nodes has a cell of its own if, of whatever nodes one
takes, as many cells as those would do for one of them or another (Hall, 1935); of nodes that ask for the same
either all are taken or none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from fabric.core.placement.host_facts import HostFacts
from fabric.core.topology.model import SMALL_PAGE_KB
from fabric.core.topology.room import KB_PER_MB, CellRoom
from fabric.core.topology.wish import GuestCell

KINDS_MAX = 4  # of nodes of one guest: sixteen ways to take some
MEMORY_MB_MAX = 1 << 50  # of a node; in KB it is a number of 64 bits
FIELDS = 4  # of a cell: processors to share, to have for oneself; MB that may be given, that are there
PAGE_FIELDS = 3  # of pages of one size: their cell's place here, the size in KB, how many

Numbers = NDArray[np.int64]
Which = NDArray[np.bool_]


class CellColumns:
    """`stale`: places of hosts that have changed since; of those nothing that is said here counts."""

    def __init__(self, count: int) -> None:
        self.stale: set[int] = set()
        self.is_made = False
        self.has_devices: Which = np.zeros(count, dtype=np.bool_)
        self.cells: Numbers = np.zeros(count, dtype=np.int64)  # how many each host has
        self._count = count
        self._owner: Numbers = _table((), 1)[0]  # of each cell, a host's place
        self._left: Numbers = _table((), FIELDS)
        self._pages: Numbers = _table((), PAGE_FIELDS)

    def made(self, hosts: Sequence[HostFacts], *, step: int) -> Generator[None, None, None]:
        """Gives way after each `step` hosts. Whoever changes meanwhile has to be called stale."""
        parts: list[tuple[Numbers, Numbers, Numbers]] = []
        count = 0
        for first in range(0, self._count, step):
            owner: list[int] = []
            left: list[tuple[int, ...]] = []
            pages: list[tuple[int, int, int]] = []
            for place in range(first, min(first + step, self._count)):
                facts = hosts[place]
                if not facts.told.facts:
                    continue
                self.has_devices[place] = bool(facts.told.topology.devices)
                self.cells[place] = len(facts.told.topology.cells)
                for each in facts.room.cells:
                    pages += ((count + len(owner), *said) for said in _pages_at(each))
                    owner.append(place)
                    left.append(_left_at(each))
            count += len(owner)
            parts.append((_table(owner, 1), _table(left, FIELDS), _table(pages, PAGE_FIELDS)))
            yield
        owners, lefts, all_pages = zip(*parts, strict=True) if parts else ((), (), ())
        self._owner = np.concatenate([_table((), 1), *owners], axis=1)[0]
        self._left = np.concatenate([_table((), FIELDS), *lefts], axis=1)
        self._pages = np.concatenate([_table((), PAGE_FIELDS), *all_pages], axis=1)
        self.is_made = True

    def copy(self) -> CellColumns:
        """That is told of other changes than this one."""
        same = CellColumns.__new__(CellColumns)
        same.__dict__.update(self.__dict__, stale=set(self.stale))
        return same

    def have_room(self, nodes: Sequence[GuestCell]) -> Which | None:
        """Of each host that tells its cells. None: that cannot be said here."""
        wanted = Counter((each.shared, each.dedicated, each.memory_mb, each.page) for each in nodes)
        if len(wanted) > KINDS_MAX or any(each.memory_mb > MEMORY_MB_MAX for each in nodes):
            return None
        suit = [self._suit(*each) for each in wanted]
        passing: Which = np.ones(self._count, dtype=np.bool_)
        for taken in product((False, True), repeat=len(suit)):
            chosen = [each for each, is_taken in zip(suit, taken, strict=True) if is_taken]
            if chosen:
                needed = sum(n for n, is_taken in zip(wanted.values(), taken, strict=True) if is_taken)
                would_do = np.logical_or.reduce(chosen)
                passing &= np.bincount(self._owner[would_do], minlength=self._count) >= needed
        return passing

    def _suit(self, shared: int, dedicated: int, memory_mb: int, page: str) -> Which:
        """Which cells would do. As `CellRoom.page_kb` says it of one."""
        has_shared, has_dedicated, has_mb, has_small_mb = self._left
        suits: Which = (has_shared >= shared) & (has_dedicated >= dedicated)
        if not page:
            suits &= has_mb >= memory_mb
            return suits
        wanted_kb = memory_mb * KB_PER_MB
        of_pages: Which = np.zeros(len(self._owner), dtype=np.bool_)
        if page in ("small", "any", str(SMALL_PAGE_KB)) and not wanted_kb % SMALL_PAGE_KB:
            of_pages |= has_small_mb * KB_PER_MB // SMALL_PAGE_KB >= wanted_kb // SMALL_PAGE_KB
        if page not in ("small", str(SMALL_PAGE_KB)):
            at, size_kb, has = self._pages
            enough = (wanted_kb % size_kb == 0) & (has >= wanted_kb // size_kb)
            if page not in ("large", "any"):
                enough &= size_kb == int(page)
            of_pages[at[enough]] = True
        suits &= of_pages
        return suits


def _left_at(each: CellRoom) -> tuple[int, ...]:
    """Below 0 nobody gets anything, however far."""
    return (
        max(-1, min(each.cell.shared, each.shared)),
        max(-1, min(each.cell.dedicated, each.dedicated)),
        max(-1, min(each.cell.memory_mb, each.sold_mb)),
        max(-1, each.small_mb),
    )


def _pages_at(each: CellRoom) -> Iterator[tuple[int, int]]:
    for size_kb, has in each.pages.items():
        if size_kb == SMALL_PAGE_KB:  # these are counted as memory
            has = each.small_mb * KB_PER_MB // SMALL_PAGE_KB
        yield size_kb, max(-1, has)


def _table(rows: Sequence[object], fields: int) -> Numbers:
    """A row a field."""
    found: Numbers = np.array(rows, dtype=np.int64).reshape(-1, fields).T
    return found
