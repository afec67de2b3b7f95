"""The control plane as a node with a voter has it: rows of its own, and a leader here or elsewhere.

Reads are local. Writes go to whoever leads, over the mesh where that is another node, and are asked again
under the same request id through changes of the leader: whoever waits sees a delay, not an error. A write is
answered when this node's rows hold it, so whoever wrote through it reads it here. LINEARIZABLE reads ask the
leader for an index and wait until this node's rows hold that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Protocol, TypeVar

from fabric.core.queries import Applied, Consistency, Listener, Query
from fabric.errors import (
    CommandRejectedError,
    DeadlineExceededError,
    FabricError,
    NoQuorumError,
    NotLeaderError,
    PeerUnreachableError,
    RemoteError,
)
from fabric.runtime.clock import Clock
from fabric.runtime.state_wire import applied_from_plain, error_of, index_from_plain
from fabric.store.errors import StoreStoppedError
from proto.codec import Plain
from proto.commands import Command, command_to_plain
from proto.ids import LogIndex, NodeId, RequestId, VoterId, node_of

R = TypeVar("R")
T = TypeVar("T")

PROPOSE, READ_INDEX = "log.propose", "log.read_index"
PROPOSE_DEADLINE_MS = 20_000
READ_DEADLINE_MS = 10_000
CALL_TIMEOUT_MS = 5_000  # one question to one leader; a leader that lost its majority answers sooner
PAUSE_MS_FIRST, PAUSE_MS_MAX = 10, 250


class Voter(Protocol):
    """What `fabric.store.voter_engine.VoterEngine` offers."""

    @property
    def applied_index(self) -> LogIndex: ...

    @property
    def is_leader(self) -> bool: ...

    @property
    def leader_id(self) -> VoterId | None: ...

    async def propose(self, command: Command, *, request_id: RequestId) -> Applied: ...

    async def read(self, query: Query[T], *, consistency: Consistency = Consistency.SESSION) -> T: ...

    async def read_index(self) -> LogIndex: ...

    async def wait_applied(self, index: LogIndex) -> None: ...

    @property
    def passed_over(self) -> int: ...

    def subscribe(self, listener: Listener) -> Callable[[], None]: ...

    def watch_lead(self, listener: Callable[[], None]) -> Callable[[], None]: ...


class Asking(Protocol):
    """The caller's half of `fabric.mesh.rpc_contract.Rpc`."""

    async def call(self, to: NodeId, method: str, body: Mapping[str, Plain], *, timeout_ms: int) -> Plain: ...


class VoterState:
    """A HardState."""

    def __init__(self, voter: Voter, rpc: Asking, clock: Clock) -> None:
        self._voter = voter
        self._rpc = rpc
        self._clock = clock

    @property
    def applied_index(self) -> LogIndex:
        return self._voter.applied_index

    @property
    def passed_over(self) -> int:
        return self._voter.passed_over

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Hears what is applied to this node's rows, whoever proposed it."""
        return self._voter.subscribe(listener)

    async def propose(self, command: Command, *, request_id: RequestId) -> Applied:
        """Raises: CommandRejectedError; NoQuorumError (not done: nobody leads within the deadline, or the
        leader takes no more); DeadlineExceededError (unknown)."""
        body: dict[str, Plain] = {"command": command_to_plain(command), "request_id": request_id}

        async def here() -> Applied:
            return await self._voter.propose(command, request_id=request_id)

        async def at(leader: NodeId) -> Applied:
            return applied_from_plain(await self._call(leader, PROPOSE, body))

        applied = await self._ask(here, at, PROPOSE_DEADLINE_MS)
        done = "it is done, and this node has not heard of it yet"
        try:
            await self._until_applied(applied.index, done)
        except StoreStoppedError as error:  # NOT_DONE is true of the waiting only
            raise DeadlineExceededError(f"{done} ({error})") from error
        return applied

    async def read(self, query: Query[T], *, consistency: Consistency = Consistency.SESSION) -> T:
        """Raises MarkerNotFoundError, BadFilterError, StoreStoppedError; a LINEARIZABLE one NoQuorumError and
        DeadlineExceededError, too."""
        if consistency is Consistency.LINEARIZABLE:
            await self.catch_up()
        return await self._voter.read(query)

    async def catch_up(self) -> None:
        """Reads after this see whatever was answered anywhere before it: for reads that are acted on. Raises
        NoQuorumError, DeadlineExceededError, StoreStoppedError."""

        async def at(leader: NodeId) -> LogIndex:
            return index_from_plain(await self._call(leader, READ_INDEX, {}))

        index = await self._ask(self._voter.read_index, at, READ_DEADLINE_MS)
        await self._until_applied(index, "this node's rows are too far behind")

    async def wait_applied(self, index: LogIndex, *, timeout_ms: int) -> None:
        """Until this node's rows hold that entry. Raises DeadlineExceededError, StoreStoppedError."""
        try:
            async with asyncio.timeout(timeout_ms / 1_000):
                await self._voter.wait_applied(index)
        except TimeoutError as error:
            raise DeadlineExceededError(
                f"this node's rows are at entry {self._voter.applied_index}, not yet at {index}"
            ) from error

    async def _until_applied(self, index: LogIndex, otherwise: str) -> None:
        try:
            await self.wait_applied(index, timeout_ms=READ_DEADLINE_MS)
        except DeadlineExceededError as error:
            raise DeadlineExceededError(f"{otherwise}; ask again ({error})") from error

    async def _ask(
        self,
        here: Callable[[], Awaitable[R]],
        at: Callable[[NodeId], Coroutine[None, None, R]],
        timeout_ms: int,
    ) -> R:
        """The leader, whoever it is when it answers."""
        deadline_ms = self._clock.monotonic_ms() + timeout_ms
        pause_ms, is_unknown = PAUSE_MS_FIRST, False
        while True:
            try:
                left_ms = max(1, deadline_ms - self._clock.monotonic_ms())
                # a voter that lost the lead may not hear for long what became of what it took
                async with asyncio.timeout(min(left_ms, CALL_TIMEOUT_MS) / 1_000):
                    return await self._once(here, at)
            except (NotLeaderError, PeerUnreachableError) as error:
                last: Exception = error
            except (DeadlineExceededError, TimeoutError) as error:
                last, is_unknown = error, True
            except CommandRejectedError:
                raise  # the same id gets the same answer, whichever try it was that was done
            except FabricError as error:
                if is_unknown:  # this try was not done; the one before may have been
                    raise DeadlineExceededError(f"it may have been done ({error})") from error
                raise
            if self._clock.monotonic_ms() + pause_ms >= deadline_ms:
                if is_unknown:
                    raise DeadlineExceededError(
                        f"no conductor answered within {timeout_ms // 1_000} s; it may have been done"
                    ) from last
                raise NoQuorumError(f"nobody conducts since {timeout_ms // 1_000} s ({last})") from last
            await self._pause(pause_ms)
            pause_ms = min(PAUSE_MS_MAX, pause_ms * 2)

    async def _once(
        self, here: Callable[[], Awaitable[R]], at: Callable[[NodeId], Coroutine[None, None, R]]
    ) -> R:
        if self._voter.is_leader:
            return await here()
        leader = self._voter.leader_id
        if leader is None:
            raise NotLeaderError("no voter leads at the moment")
        return await self._while_it_leads(leader, at(node_of(leader)))

    async def _while_it_leads(self, leader: VoterId, answer: Coroutine[None, None, R]) -> R:
        """A leader that fell silent is waited for until another one leads. What it was asked may have been
        done, so that raises DeadlineExceededError: who is asked next knows it by its request id."""
        changed = asyncio.Event()

        def look() -> None:
            if self._voter.leader_id not in (leader, None):
                changed.set()

        asked, replaced = asyncio.create_task(answer), asyncio.create_task(changed.wait())
        unsubscribe = self._voter.watch_lead(look)
        try:
            look()
            await asyncio.wait((asked, replaced), return_when=asyncio.FIRST_COMPLETED)
            if not asked.done():
                raise DeadlineExceededError(f"voter {leader} was silent until another led")
            return asked.result()
        finally:
            unsubscribe()
            asked.cancel()
            replaced.cancel()

    async def _pause(self, pause_ms: int) -> None:
        """So long, or until another leads."""
        changed = asyncio.Event()
        unsubscribe = self._voter.watch_lead(changed.set)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_ms / 1_000):
                    await changed.wait()
        finally:
            unsubscribe()

    async def _call(self, leader: NodeId, method: str, body: Mapping[str, Plain]) -> Plain:
        """Raises CommandRejectedError, NotLeaderError and PeerUnreachableError (not done),
        DeadlineExceededError (unknown)."""
        try:
            return await self._rpc.call(leader, method, body, timeout_ms=CALL_TIMEOUT_MS)
        except RemoteError as error:
            raise error_of(error, NotLeaderError) from error
