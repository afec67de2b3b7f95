"""The control plane as a node without rows reaches it: every read and write is a call to the conductor."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TypeVar

from fabric.core.queries import Applied, Consistency, Query
from fabric.errors import (
    DeadlineExceededError,
    FabricError,
    NoQuorumError,
    PeerUnreachableError,
    RemoteError,
)
from fabric.mesh.rpc_contract import Rpc
from fabric.runtime.clock import Clock
from fabric.runtime.hard_state import Listener
from fabric.runtime.ownership import PROCESS_FIELD, OwnerUnclearError, Process
from fabric.runtime.query_wire import answer_from_plain, query_to_plain
from fabric.runtime.state_wire import applied_from_plain, error_of
from proto.codec import Plain
from proto.commands import Command, command_to_plain
from proto.ids import LogIndex, NodeId, RequestId

T = TypeVar("T")

CALL_TIMEOUT_MS = 5_000
PROPOSE_DEADLINE_MS = 20_000
RETRY_MS_FIRST, RETRY_MS_MAX = 50, 1_000


class RemoteState:
    """HardState over RPC. A write is asked again under the same request id until it is known to be done
    or the deadline is over, so a lost answer is never a second effect."""

    def __init__(
        self,
        rpc: Rpc,
        conductor: Callable[[], NodeId | None],
        clock: Clock,
        process: Process | None = None,
    ) -> None:
        """`process`: which life of this node asks. None says nothing of that, as programs before did."""
        self._rpc = rpc
        self._conductor = conductor
        self._clock = clock
        self._said: dict[str, Plain] = {} if process is None else {PROCESS_FIELD: process.to_plain()}
        self._index = LogIndex(0)
        self.passed_over = 0

    @property
    def applied_index(self) -> LogIndex:
        """The highest index an answer has shown."""
        return self._index

    async def propose(self, command: Command, *, request_id: RequestId) -> Applied:
        body: dict[str, Plain] = {"command": command_to_plain(command), "request_id": request_id}
        deadline = self._clock.monotonic_ms() + PROPOSE_DEADLINE_MS
        pause_ms, maybe_done = RETRY_MS_FIRST, False
        while True:
            try:
                return self._applied(await self._call("state.propose", body))
            except (PeerUnreachableError, NoQuorumError, OwnerUnclearError) as error:
                last: FabricError = error
            except DeadlineExceededError as error:
                last, maybe_done = error, True
            if self._clock.monotonic_ms() + pause_ms > deadline:
                if maybe_done:
                    raise DeadlineExceededError("the conductor did not answer in time") from last
                if isinstance(last, OwnerUnclearError):
                    raise last
                raise NoQuorumError("no conductor can be reached") from last
            await asyncio.sleep(pause_ms / 1000)
            pause_ms = min(RETRY_MS_MAX, pause_ms * 2)

    async def read(self, query: Query[T], *, consistency: Consistency = Consistency.SESSION) -> T:
        """Raises NoQuorumError at once when no conductor is known: callers here have their own rhythm."""
        return answer_from_plain(query, await self._call("state.read", query_to_plain(query)))

    async def catch_up(self) -> None:
        """Nobody is told of anything here: all has to be read anew each time."""
        self.passed_over += 1

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Nothing is applied here, so the listener is never called."""
        return lambda: None

    async def _call(self, method: str, body: Mapping[str, Plain]) -> Plain:
        conductor = self._conductor()
        if conductor is None:
            raise NoQuorumError("no conductor is known")
        try:
            return await self._rpc.call(conductor, method, {**body, **self._said}, timeout_ms=CALL_TIMEOUT_MS)
        except RemoteError as error:
            if error.remote_code == OwnerUnclearError.code:
                raise OwnerUnclearError(error.message) from error
            raise error_of(error, NoQuorumError) from error

    def _applied(self, answer: Plain) -> Applied:
        applied = applied_from_plain(answer)
        self._index = max(self._index, applied.index)
        return applied
