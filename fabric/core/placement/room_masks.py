"""What requests ask of hosts' cells and devices, as columns over all hosts.

Made when first asked: by the cell columns where those know, and by a look at the host where they do not.
Afterwards only hosts whose room changes are looked at, which most news of a host is not about.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fabric.core.placement.cell_columns import CellColumns
from fabric.core.placement.host_facts import HostFacts
from fabric.core.placement.resources import PCPU
from fabric.core.topology.room import HostRoom

Mask = NDArray[np.bool_]
MASKS_MAX = 128
STALE_MAX = 1_024  # hosts that are looked at for each new question; then all columns are made anew


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomQuestion:
    """`holds`: of one host. `known`: of all, as far as cells tell: (the answer, of which hosts it is none).
    Both must be of `key` alone."""

    key: object
    holds: Callable[[HostRoom], bool]
    known: Callable[[CellColumns], tuple[Mask, Mask]]


class RoomMasks:
    def __init__(self) -> None:
        self._cells: CellColumns | None = None
        self._masks: dict[object, tuple[Mask, RoomQuestion]] = {}

    def mask(self, question: RoomQuestion, hosts: Sequence[HostFacts]) -> Mask:
        """Kept until hosts change, and up to date."""
        steps = self.in_steps(question, hosts, step=max(1, len(hosts)))
        while True:
            try:
                next(steps)
            except StopIteration as end:
                found: Mask = end.value
                return found

    def in_steps(
        self, question: RoomQuestion, hosts: Sequence[HostFacts], *, step: int
    ) -> Generator[None, None, Mask]:
        """The same, giving way after each `step` hosts that are looked at."""
        if (found := self._masks.get(question.key)) is not None:
            return found[0]
        cells = yield from self._made(hosts, step)
        mask, is_open = question.known(cells)
        is_open[list(cells.stale)] = True
        if len(self._masks) >= MASKS_MAX:
            self._masks.clear()
        self._masks[question.key] = mask, question  # what changes meanwhile is written
        is_made = False
        try:
            for number, place in enumerate(is_open.nonzero()[0].tolist(), start=1):
                mask[place] = question.holds(hosts[place].room)
                if number % step == 0:
                    yield
            is_made = True
        finally:
            if not is_made:
                self._masks.pop(question.key, None)
        return mask

    def _made(self, hosts: Sequence[HostFacts], step: int) -> Generator[None, None, CellColumns]:
        while (cells := self._cells) is None or not cells.is_made or len(cells.stale) > STALE_MAX:
            new = self._cells = CellColumns(len(hosts))
            try:
                yield from new.made(hosts, step=step)
            finally:
                if self._cells is new and not new.is_made:
                    self._cells = None
        return cells

    def changed(self, place: int, before: HostFacts, now: HostFacts) -> None:
        """What is known of a host."""
        if (self._cells is None and not self._masks) or _is_same_room(before, now):
            return
        if self._cells is not None:
            self._cells.stale.add(place)
        if self._masks:
            room = now.room
            for mask, question in self._masks.values():
                mask[place] = question.holds(room)

    def of(self, places: NDArray[np.int64]) -> RoomMasks:
        """Of some of the hosts."""
        some = RoomMasks()
        some._masks = {key: (mask[places], question) for key, (mask, question) in self._masks.items()}
        return some

    def copy(self) -> RoomMasks:
        """Of all, which shares nothing that changes."""
        same = RoomMasks()
        if self._cells is not None and self._cells.is_made:
            same._cells = self._cells.copy()
        same._masks = {key: (mask.copy(), question) for key, (mask, question) in self._masks.items()}
        return same


def _is_same_room(one: HostFacts, other: HostFacts) -> bool:
    """Surely."""
    if one.told != other.told or one.held != other.held:
        return False
    if one.host is other.host and one.used is other.used:
        return True
    return (
        one.used.get(PCPU, 0) == other.used.get(PCPU, 0)
        and one.host.cpu_ratio_milli == other.host.cpu_ratio_milli
        and one.host.memory_ratio_milli == other.host.memory_ratio_milli
    )
