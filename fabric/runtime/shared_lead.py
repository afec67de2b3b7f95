"""Who conducts where the rows live in a shared database: whoever holds a lease on the database's clock.

The lease is for liveness: it lets one conduct and the next take over when that one is gone. A holder counts
on it until shortly before it ends by its own monotonic clock, whether or not it can still reach the database.
What it decides is fenced: grants are proposed under the taking and refused in the same transaction once
another took the role, and roles carry the index of their grant.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from fabric.core.queries import Applied
from fabric.errors import FabricError, NotLeaderError
from fabric.runtime.clock import Clock
from fabric.runtime.lead_loop import CONDUCTOR
from fabric.store.held_lease import HeldLease, LeaseAnswer
from proto.commands import Command
from proto.ids import NodeId, RequestId

log = logging.getLogger(__name__)

TTL_MS = 3_000  # a killed conductor is replaced after two to three seconds; writes go on meanwhile
MARGIN_MS = 300  # a holder stops so long before: a guess, far above what clocks differ by in three seconds
RENEW_MS = 750  # so that two lost renewals cost nothing
LOOK_MS = 1_000  # although told when one is given up: what tells may be lost
RETRY_MS = 100


class LeasedRows(Protocol):
    """`fabric.store.postgres.PostgresState`."""

    async def take_lease(self, role: str, node_id: NodeId, ttl_ms: int) -> LeaseAnswer: ...

    async def renew_lease(self, lease: HeldLease, ttl_ms: int) -> bool: ...

    async def give_up_lease(self, lease: HeldLease) -> None: ...

    def watch_leases(self, listener: Callable[[], None]) -> Callable[[], None]: ...

    async def propose_under(
        self, lease: HeldLease, command: Command, *, request_id: RequestId
    ) -> Applied: ...


class SharedLead:
    """A `Leading`. `run` keeps the lease where it can be had."""

    def __init__(self, rows: LeasedRows, me: NodeId, clock: Clock) -> None:
        self._rows = rows
        self._me = me
        self._clock = clock
        self._lease: HeldLease | None = None
        self._until_ms = 0  # this node leads no longer than that, by its own clock
        self._listeners: list[Callable[[], None]] = []
        self._looks = asyncio.Event()
        self._is_standing_back = False

    @property
    def is_leader(self) -> bool:
        return self._lease is not None and self._clock.monotonic_ms() < self._until_ms

    def left_ms(self) -> int | None:
        """Until this node leads no more without another word; None while it does not lead."""
        return self._until_ms - self._clock.monotonic_ms() if self.is_leader else None

    def watch_lead(self, listener: Callable[[], None]) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def propose(self, command: Command, *, request_id: RequestId) -> Applied:
        """Only while nobody else took the lead. Raises NotLeaderError, and as HardState does."""
        lease = self._lease
        if lease is None or not self.is_leader:
            raise NotLeaderError("this node does not conduct")
        return await self._rows.propose_under(lease, command, request_id=request_id)

    async def run(self) -> None:
        """Until cancelled."""
        unsubscribe = self._rows.watch_leases(self._looks.set)
        try:
            while True:
                self._looks.clear()
                pause_ms = await self._look()
                await self._wait(pause_ms)
        finally:
            unsubscribe()
            self._lose("stopped")

    async def stand_back(self) -> None:
        """Leads no more, at once, and lets another. Raises FabricError: that one has to wait for the lease's
        end."""
        self._is_standing_back = True
        lease = self._lease
        self._lose("stood back")
        if lease is not None:
            await self._rows.give_up_lease(lease)

    async def _look(self) -> int:
        """One step; how long until the next, in milliseconds."""
        if self._is_standing_back:
            return LOOK_MS
        if self._lease is not None and not self.is_leader:
            self._lose("not renewed in time")
        asked_ms = self._clock.monotonic_ms()
        try:
            if self._lease is None:
                return await self._take(asked_ms)
            return await self._renew(self._lease, asked_ms)
        except FabricError as error:
            log.info("lease not looked after", extra={"code": error.code, "reason": str(error)})
        except TimeoutError:
            log.warning("the database is slow to renew the lease")
        return RETRY_MS

    async def _take(self, asked_ms: int) -> int:
        seen = await self._rows.take_lease(CONDUCTOR, self._me, TTL_MS)
        if seen.epoch is None:
            return min(LOOK_MS, seen.left_ms + 1)
        lease = HeldLease(role=CONDUCTOR, node_id=self._me, epoch=seen.epoch)
        if self._is_standing_back:  # decided while it was asked for
            await self._rows.give_up_lease(lease)
            return LOOK_MS
        self._lease, self._until_ms = lease, asked_ms + TTL_MS - MARGIN_MS
        log.info("lease taken", extra={"epoch": lease.epoch})
        self._tell()
        return RENEW_MS

    async def _renew(self, lease: HeldLease, asked_ms: int) -> int:
        async with asyncio.timeout(max(0, self._until_ms - asked_ms) / 1_000):
            is_held = await self._rows.renew_lease(lease, TTL_MS)
        if self._lease is not lease:
            return LOOK_MS
        if not is_held:
            self._lose("another took it")
            return RETRY_MS
        self._until_ms = asked_ms + TTL_MS - MARGIN_MS
        return RENEW_MS

    async def _wait(self, pause_ms: int) -> None:
        """So long, or until one is given up; never beyond the end of what is held."""
        if self._lease is not None:
            pause_ms = min(pause_ms, max(0, self._until_ms - self._clock.monotonic_ms()))
        try:
            async with asyncio.timeout(pause_ms / 1_000):
                await self._looks.wait()
        except TimeoutError:
            return

    def _lose(self, why: str) -> None:
        if self._lease is None:
            return
        log.warning("lease lost", extra={"epoch": self._lease.epoch, "reason": why})
        self._lease = None
        self._tell()

    def _tell(self) -> None:
        for listener in tuple(self._listeners):
            listener()
