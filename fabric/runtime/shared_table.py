"""A kept host table for many, one after another: whoever asks is given a copy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from fabric.core.placement.host_table import HostTable
from fabric.core.placement.request import PlacementRequest
from fabric.runtime.clock import Clock
from fabric.runtime.fleet import Fleet
from fabric.runtime.hard_state import HardState
from fabric.runtime.kept_table import KeptTable
from proto.ids import NodeId


class SharedTable:
    """Until somebody listens each copy is of all rows, read for it."""

    def __init__(self, state: HardState, fleet: Fleet, clock: Clock, *, is_told_first: bool) -> None:
        """`is_told_first`: listeners are told of all that this node's rows hold, as soon as they do; so
        nobody has to be asked what is newest, and copies can be had where nobody knows."""
        self._kept = KeptTable(state, fleet, clock)
        self._is_told_first = is_told_first
        self._turn = asyncio.Lock()

    def listen(self) -> Callable[[], None]:
        """Returns the unsubscriber."""
        return self._kept.listen()

    async def copy(self, requests: Iterable[PlacementRequest], *, read: NodeId | None = None) -> HostTable:
        """As new as what this node was told; of that host, as its rows are. Raises FabricError from the
        reads."""
        async with self._turn:
            if read is not None:
                self._kept.doubt(read)
            look = self._kept.look_here if self._is_told_first else self._kept.look
            table, _ = await look(requests)
            return table.copy()
