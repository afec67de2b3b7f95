"""A leader that falls silent, as one node with a voter sees it: doubles, for real silence takes seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TypeVar

from fabric.core.queries import Applied, Consistency, Listener, Query
from fabric.runtime.clock import SystemClock
from fabric.runtime.state_wire import applied_to_plain
from fabric.runtime.voter_state import VoterState
from proto.codec import Plain
from proto.commands import Command
from proto.ids import LogIndex, NodeId, RequestId, VoterId, voter_of
from tests.fixtures.store_world import fabric_init

T = TypeVar("T")
SILENT, NEXT = NodeId("silent"), NodeId("next")
REQUEST = RequestId("q-1")


class Follower:
    """A voter that leads at no time; whom it follows is told."""

    is_leader = False
    applied_index = LogIndex(7)

    def __init__(self, leader: NodeId) -> None:
        self.leader_id: VoterId | None = voter_of(leader, "0")
        self.passed_over = 0
        self._listeners: list[Callable[[], None]] = []

    def follow(self, leader: NodeId | None) -> None:
        self.leader_id = None if leader is None else voter_of(leader, "0")
        for listener in tuple(self._listeners):
            listener()

    def watch_lead(self, listener: Callable[[], None]) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def propose(self, command: Command, *, request_id: RequestId) -> Applied:
        raise AssertionError("it does not lead")

    async def read(self, query: Query[T], *, consistency: Consistency = Consistency.SESSION) -> T:
        raise AssertionError("nobody reads here")

    async def read_index(self) -> LogIndex:
        raise AssertionError("it does not lead")

    async def wait_applied(self, index: LogIndex) -> None:
        assert index <= self.applied_index

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        raise AssertionError("nobody listens here")


class SilentOne:
    """An Rpc over which one node never answers, and every other one has done what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[NodeId, object]] = []
        self.was_asked = asyncio.Event()

    async def call(self, to: NodeId, method: str, body: Mapping[str, Plain], *, timeout_ms: int) -> Plain:
        self.asked.append((to, body["request_id"]))
        self.was_asked.set()
        if to == SILENT:
            await asyncio.Event().wait()
        return applied_to_plain(Applied(LogIndex(7), {}, False))


async def test_a_silent_leader_is_not_waited_for_once_another_leads() -> None:
    voter, rpc = Follower(SILENT), SilentOne()
    state = VoterState(voter, rpc, SystemClock())
    write = asyncio.create_task(state.propose(fabric_init(), request_id=REQUEST))
    await rpc.was_asked.wait()
    voter.follow(None)  # it is missed, and may be there still: nobody else could answer
    await asyncio.sleep(0)
    assert len(rpc.asked) == 1
    voter.follow(NEXT)
    async with asyncio.timeout(2):  # well before the silent one's own time is up
        applied = await write
    assert applied.index == 7
    assert rpc.asked == [(SILENT, REQUEST), (NEXT, REQUEST)]
