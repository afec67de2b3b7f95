"""The conductor entrusts the fabric's root to the members that use the same database, as they come."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from fabric.core.membership.model import MemberState
from fabric.errors import FabricError
from fabric.runtime.clock import Clock
from fabric.runtime.events import EventLog
from fabric.runtime.fleet import Fleet
from proto.ids import NodeId

log = logging.getLogger(__name__)

ROWS_LABEL = "rows"  # in the record of a node with a database: how far it is
REACHED, OPEN = "reached", "open"  # it reads this fabric's rows and waits to be trusted; it serves them
LOOK_S = 0.5
AGAIN_MS = 15_000  # after one that failed


class EntrustingLoop:
    """A duty of who conducts."""

    def __init__(
        self,
        fleet: Fleet,
        clock: Clock,
        events: EventLog,
        *,
        entrust: Callable[[NodeId], Awaitable[None]],
    ) -> None:
        self._fleet = fleet
        self._clock = clock
        self._events = events
        self._entrust = entrust
        self._not_before_ms: dict[NodeId, int] = {}  # bounded by the members

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Asks each of those that wait, once."""
        waiting = {
            member.record.node_id: member.record.name
            for member in self._fleet.members()
            if member.state is MemberState.ALIVE and member.record.labels.get(ROWS_LABEL) == REACHED
        }
        self._not_before_ms = {
            node_id: at for node_id, at in self._not_before_ms.items() if node_id in waiting
        }
        for node_id, name in waiting.items():
            if self._clock.monotonic_ms() < self._not_before_ms.get(node_id, 0):
                continue
            self._not_before_ms[node_id] = self._clock.monotonic_ms() + AGAIN_MS
            try:
                await self._entrust(node_id)
            except FabricError as error:
                log.warning("node not entrusted", extra={"node": name, "reason": str(error)})
            else:
                log.info("node entrusted", extra={"node": name})
                self._events.add("node.entrusted", name, {"id": node_id})
