"""A voter that the group has let go and nobody told: it was down then, or led itself until the end.

It hears no leader, and the conductor's own word does not name it any more, look after look. Then it ends, as
if it had been dismissed; while it may merely be cut off, it stays.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from fabric.core.raft.configuration import Configuration
from fabric.errors import FabricError
from fabric.mesh.rpc_contract import Rpc
from fabric.runtime.log_status import STATUS, STATUS_TIMEOUT_MS
from proto.ids import LogIndex, NodeId, Term, VoterId

log = logging.getLogger(__name__)

LOOK_S = 5.0
LOOKS = 3  # in a row that say the same


class LonelyVoter(Protocol):
    @property
    def me(self) -> VoterId: ...

    @property
    def leader_id(self) -> VoterId | None: ...

    @property
    def term(self) -> Term: ...

    @property
    def applied_index(self) -> LogIndex: ...

    @property
    def configuration(self) -> Configuration: ...


class FormerWatch:
    def __init__(
        self,
        voter: LonelyVoter,
        rpc: Rpc,
        *,
        conductor: Callable[[], NodeId | None],
        end: Callable[[VoterId], Awaitable[None]],
    ) -> None:
        self._voter = voter
        self._rpc = rpc
        self._conductor = conductor
        self._end = end

    async def run(self) -> None:
        """Until cancelled."""
        seen = 0
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                seen = seen + 1 if await self.is_let_go() else 0
            except FabricError as error:
                log.debug("group not asked", extra={"reason": str(error)})
                continue  # says nothing either way
            if seen >= LOOKS:
                log.warning("the log knows this voter no more", extra={"voter": self._voter.me})
                await self._end(self._voter.me)
                seen = 0

    async def is_let_go(self) -> bool:
        """One look. Raises FabricError: nobody could be asked."""
        voter = self._voter
        conductor = self._conductor()
        if voter.leader_id is not None or conductor is None or not voter.configuration.members:
            return False  # it follows somebody, or waits for its first entry
        told = await self._rpc.call(conductor, STATUS, {}, timeout_ms=STATUS_TIMEOUT_MS)
        if not isinstance(told, dict) or not told.get("leader"):
            return False
        answer: dict[str, Any] = told
        is_ahead = answer["term"] >= voter.term and answer["index"] >= voter.applied_index
        known = {*answer["voters"], *answer["outgoing"], *answer["learners"]}
        return bool(is_ahead and known and voter.me not in known)
