"""What a voter does while it leads: it takes the conductor's role by an entry, says so, and runs its duties.

The grant's log index is the role's fence. It is proposed to this voter alone: when that leads no more, the
entry fails and somebody else is taking the role. Duties begin when the rows hold everything that was ever
answered, and are cancelled when the lead is lost; what a duty proposes after that is refused or fenced.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from fabric.core.membership.model import RoleClaim
from fabric.core.queries import Applied
from fabric.errors import FabricError
from fabric.runtime.clock import Clock
from fabric.runtime.duties import raise_end
from proto.commands import Command
from proto.commands.nodes import RoleHold
from proto.ids import NodeId, RequestId, new_request_id

log = logging.getLogger(__name__)

CONDUCTOR = "conductor"
RETRY_S = 0.05
RETRY_MAX_S = 1.0
TAKE_S = 5.0

Duties = Callable[[], Sequence[tuple[str, Coroutine[Any, Any, None]]]]


class Leading(Protocol):
    """A voter, or an engine without voters, which always leads."""

    @property
    def is_leader(self) -> bool: ...

    def watch_lead(self, listener: Callable[[], None]) -> Callable[[], None]: ...

    async def propose(self, command: Command, *, request_id: RequestId) -> Applied: ...


class LeadLoop:
    def __init__(
        self,
        voter: Leading,
        me: NodeId,
        clock: Clock,
        *,
        duties: Duties,
        claim: Callable[[RoleClaim | None], None],
    ) -> None:
        """`claim` says to the mesh that this node conducts, or, with None, no more."""
        self._voter = voter
        self._me = me
        self._clock = clock
        self._duties = duties
        self._claim = claim
        self._changed = asyncio.Event()
        self.is_conducting = asyncio.Event()
        self._refusals = 0  # one after the other, of this lead

    async def run(self) -> None:
        """Until cancelled. Raises DutyEndedError."""
        unsubscribe = self._voter.watch_lead(self._changed.set)
        try:
            while True:
                if not self._voter.is_leader:
                    self._refusals = 0
                await self._until(lambda: self._voter.is_leader)
                await self._conduct()
        finally:
            unsubscribe()

    async def _conduct(self) -> None:
        try:
            command = RoleHold(role=CONDUCTOR, node_id=self._me)
            async with asyncio.timeout(TAKE_S):  # a lost lead may leave it without an answer for long
                grant = await self._voter.propose(command, request_id=new_request_id())
        except TimeoutError:
            log.info("conductor's role not taken in time")
            return
        except FabricError as error:
            log.info("conductor's role not taken", extra={"code": error.code, "reason": str(error)})
            await asyncio.sleep(pause_s(self._refusals))
            self._refusals += 1
            return
        self._refusals = 0
        self._claim(RoleClaim(role=CONDUCTOR, fence=grant.index, since_ms=self._clock.wall_ms()))
        self.is_conducting.set()
        log.info("conducting", extra={"fence": grant.index})
        tasks = [asyncio.create_task(work, name=name) for name, work in self._duties()]
        lost = asyncio.create_task(self._until(lambda: not self._voter.is_leader), name="lead lost")
        try:
            done, _ = await asyncio.wait((*tasks, lost), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.is_conducting.clear()
            self._claim(None)
            for task in (*tasks, lost):
                task.cancel()
            await asyncio.gather(*tasks, lost, return_exceptions=True)
        log.info("not conducting any more", extra={"fence": grant.index})
        for task in done - {lost}:
            raise_end(task)

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            self._changed.clear()
            await self._changed.wait()


def pause_s(refusals: int) -> float:
    """Until the next try. It doubles: what is refused again and again, as by a disk that is low, stays so
    for long."""
    return float(min(RETRY_MAX_S, RETRY_S * 2 ** min(refusals, 16)))
