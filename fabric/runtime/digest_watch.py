"""Voters compare their rows: each takes a digest behind an entry that asks for it, and asks for the others'.

One whose rows differ from what a majority of the voters agrees on stops itself and never votes again under
its name: what it holds is wrong, by a bug or a disk, and it learns everything anew. Where no majority agrees
nobody is stopped, and the log says so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Protocol

from fabric.core.queries import Applied, AppliedEntry
from fabric.core.raft.configuration import Configuration
from fabric.core.voters.digests import Judgement, judge
from fabric.errors import CommandRejectedError, FabricError, Outcome
from fabric.mesh.rpc_contract import Rpc
from fabric.runtime.clock import Clock
from fabric.runtime.hard_state import HardState
from proto.codec import Plain
from proto.commands import Command
from proto.commands.log import LogCompare
from proto.errors import WireError
from proto.ids import LogIndex, NodeId, RequestId, VoterId, new_request_id, node_of

log = logging.getLogger(__name__)

DIGEST = "log.digest"
CALL_TIMEOUT_MS = 2_000
LOOK_S = 1.0
GIVE_UP_S = 120.0  # who has not taken its digest by then is slow or gone
EVERY_MS = 3_600_000
EVERY_ENTRIES = 20_000  # or sooner, when so much was written
ASK_S = 10.0


class RowsDifferError(FabricError):
    """This voter's rows are not what a majority of the voters holds."""

    code = "fabric.voters.rows_differ"
    outcome = Outcome.NOT_DONE


class ComparedVoter(Protocol):
    @property
    def me(self) -> VoterId: ...

    @property
    def configuration(self) -> Configuration: ...

    @property
    def applied_index(self) -> LogIndex: ...

    def digest(self, index: LogIndex) -> bytes | None: ...

    def stop(self, error: BaseException) -> None: ...

    async def propose(self, command: Command, *, request_id: RequestId) -> Applied: ...


class DigestWatch:
    """On every voter. Serves `log.digest` until `close`; `run` beside it."""

    def __init__(self, voter: ComparedVoter, state: HardState, rpc: Rpc) -> None:
        self._voter = voter
        self._rpc = rpc
        self._asked: LogIndex | None = None
        self._wake = asyncio.Event()
        self._unsubscribe = state.subscribe(self._on_applied)
        rpc.serve(DIGEST, self._serve)

    def close(self) -> None:
        self._unsubscribe()
        self._rpc.unserve(DIGEST)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._asked is not None:
                await self.compare(self._asked)

    def _on_applied(self, entry: AppliedEntry) -> None:
        if isinstance(entry.command, LogCompare):
            self._asked = entry.index
            self._wake.set()

    async def compare(self, index: LogIndex) -> Judgement:
        """Asks until it is decided, or time is over. Stops the voter that differs."""
        voters = self._voter.configuration.voters
        others = {voter for voter in voters if voter != self._voter.me}
        heard: dict[VoterId, bytes] = {}
        judgement = Judgement.OPEN
        for _ in range(int(GIVE_UP_S / LOOK_S)):
            own = self._voter.digest(index)
            if own is not None:
                await self._ask(index, others - heard.keys(), heard)
                judgement = judge(own, heard, len(voters))
                if judgement is Judgement.DIFFERS:
                    log.critical("rows differ from the other voters'", extra={"index": index})
                    self._voter.stop(
                        RowsDifferError(f"the rows behind entry {index} are not those of a majority")
                    )
                    return judgement
                if len(heard) == len(others):
                    break
            await asyncio.sleep(LOOK_S)
        if judgement is Judgement.OPEN and heard:
            log.error(
                "no majority of the voters agrees on the rows", extra={"index": index, "heard": len(heard)}
            )
        else:
            log.info("rows compared", extra={"index": index, "heard": len(heard)})
        return judgement

    async def _ask(self, index: LogIndex, voters: set[VoterId], heard: dict[VoterId, bytes]) -> None:
        for voter in sorted(voters):
            body: dict[str, Plain] = {"voter_id": voter, "index": index}
            try:
                answer = await self._rpc.call(node_of(voter), DIGEST, body, timeout_ms=CALL_TIMEOUT_MS)
            except FabricError:
                continue  # asked again, or given up
            digest = answer.get("digest") if isinstance(answer, dict) else None
            if isinstance(digest, bytes) and digest:
                heard[voter] = digest

    async def _serve(self, peer: NodeId, body: Mapping[str, Plain]) -> Plain:
        if peer not in self._voter.configuration.nodes:
            raise CommandRejectedError("forbidden", "Only the log's own voters may ask that.")
        index = body.get("index")
        if type(index) is not int:
            raise WireError("bad_field", "index: must be a whole number")
        if body.get("voter_id") != self._voter.me:
            raise CommandRejectedError("not_found", "That voter does not live here.")
        return {"digest": self._voter.digest(LogIndex(index)) or b""}


class DigestClock:
    """A duty of who leads: asks for a comparison now and then, by an entry."""

    def __init__(self, voter: ComparedVoter, clock: Clock) -> None:
        self._voter = voter
        self._clock = clock

    async def run(self) -> None:
        """Until cancelled. The first comes a moment after the lead was taken."""
        asked_ms, asked_index = self._clock.monotonic_ms() - EVERY_MS, LogIndex(0)
        while True:
            await asyncio.sleep(ASK_S)
            written = self._voter.applied_index - asked_index
            is_due = self._clock.monotonic_ms() - asked_ms >= EVERY_MS or written >= EVERY_ENTRIES
            if not is_due or len(self._voter.configuration.voters) < 2:
                continue
            try:
                asked = await self._voter.propose(LogCompare(), request_id=new_request_id())
                asked_ms, asked_index = self._clock.monotonic_ms(), asked.index
            except FabricError as error:
                log.info("comparison not asked for", extra={"reason": str(error)})
