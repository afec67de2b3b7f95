"""Writes and reads at a voter, whoever leads: forwarded, asked again under one id, true about what was so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from fabric.core.queries import Applied, Consistency
from fabric.core.raft.configuration import Configuration
from fabric.errors import CommandRejectedError, DeadlineExceededError, NoQuorumError, Outcome
from fabric.runtime import voter_state
from fabric.runtime.log_service import LogService
from fabric.store.errors import StoreBusyError
from fabric.store.voter_engine import VoterEngine
from proto.commands import Command
from proto.ids import LogIndex, RequestId
from tests.fixtures.mesh_nodes import until
from tests.fixtures.voter_nodes import PATIENCE_S, numbered
from tests.unit.runtime.voter_group import Seat, group, project

ROUNDS = 20


@pytest.fixture
async def seats(tmp_path: Path) -> AsyncIterator[list[Seat]]:
    async with group(tmp_path) as made:
        yield made


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits gives up soon."""
    for name in ("PROPOSE_DEADLINE_MS", "READ_DEADLINE_MS"):
        monkeypatch.setattr(voter_state, name, 1_500)


def request(number: int) -> RequestId:
    return RequestId(f"q{number}")


class Forgetful:
    """A leader whose first answers are lost on their way, after it has done what it was asked."""

    def __init__(self, voter: VoterEngine, lost: int) -> None:
        self._voter = voter
        self._lost = lost
        self.asked: list[RequestId] = []

    @property
    def configuration(self) -> Configuration:
        return self._voter.configuration

    async def propose(self, command: Command, *, request_id: RequestId) -> Applied:
        self.asked.append(request_id)
        applied = await self._voter.propose(command, request_id=request_id)
        if len(self.asked) <= self._lost:
            raise DeadlineExceededError("the answer is lost")
        return applied

    async def read_index(self) -> LogIndex:
        return await self._voter.read_index()


# ---- writes


async def test_who_writes_at_a_follower_reads_it_there_at_once(seats: list[Seat]) -> None:
    for number in range(ROUNDS):
        follower = seats[1 + number % 2]
        await follower.state.propose(project(number), request_id=request(number))
        assert f"n{number}" in await follower.names()


async def test_writes_outlive_the_death_of_who_leads_and_are_done_once(seats: list[Seat]) -> None:
    """A second effect would be refused as a conflict: names are unique."""
    leader, *followers = seats
    under_way = [
        asyncio.create_task(followers[n % 2].state.propose(project(n), request_id=request(n)))
        for n in range(ROUNDS)
    ]
    await until(lambda: any(task.done() for task in under_way), PATIENCE_S)
    await leader.node.stop()
    applied = await asyncio.gather(*under_way)
    assert len({each.index for each in applied}) == ROUNDS
    for seat in followers:
        assert await seat.names(Consistency.LINEARIZABLE) == numbered(ROUNDS)


async def test_a_lost_answer_is_asked_for_under_the_same_id(seats: list[Seat]) -> None:
    leader, follower, _ = seats
    leader.service.close()
    forgetful = Forgetful(leader.node.engine, lost=2)
    LogService(forgetful, leader.node.end.rpc)
    applied = await follower.state.propose(project(0), request_id=request(0))
    assert applied.replayed
    assert forgetful.asked == [request(0)] * 3
    assert await leader.names() == numbered(1)


class Full:
    """A leader that takes no more."""

    def __init__(self, voter: VoterEngine) -> None:
        self._voter = voter
        self.asked = 0

    @property
    def configuration(self) -> Configuration:
        return self._voter.configuration

    async def propose(self, command: Command, *, request_id: RequestId) -> Applied:
        self.asked += 1
        raise StoreBusyError("too little disk space is left")

    async def read_index(self) -> LogIndex:
        return await self._voter.read_index()


async def test_a_leader_that_takes_no_more_is_asked_once_as_if_it_were_here(seats: list[Seat]) -> None:
    leader, follower, _ = seats
    leader.service.close()
    full = Full(leader.node.engine)
    LogService(full, leader.node.end.rpc)
    with pytest.raises(StoreBusyError, match="disk space") as caught:
        await follower.state.propose(project(0), request_id=request(0))
    assert caught.value.outcome is Outcome.NOT_DONE
    assert full.asked == 1


async def test_a_rejection_keeps_its_reason_on_the_way_back(seats: list[Seat]) -> None:
    leader, follower, _ = seats
    await leader.state.propose(project(0), request_id=request(0))
    with pytest.raises(CommandRejectedError) as caught:
        await follower.state.propose(project(0), request_id=request(1))
    assert caught.value.reason == "conflict"
    assert "0" in caught.value.message


async def test_what_is_done_is_never_told_as_not_done(seats: list[Seat]) -> None:
    """The leader has answered, and this node stops before its rows hold it."""
    leader, follower, other = seats
    follower.node.impostors |= {leader.node.node_id, other.node.node_id}  # it hears no entry
    asked = asyncio.create_task(follower.state.propose(project(0), request_id=request(0)))
    await until(lambda: follower.node.engine.waiting.for_rows > 0, PATIENCE_S)
    await follower.node.stop()
    with pytest.raises(DeadlineExceededError) as caught:
        await asked
    assert caught.value.outcome is Outcome.UNKNOWN
    assert await leader.names() == numbered(1)


@pytest.mark.usefixtures("impatient")
async def test_nothing_is_done_where_nobody_leads_and_reads_go_on(seats: list[Seat]) -> None:
    leader, lonely, other = seats
    await lonely.state.propose(project(0), request_id=request(0))
    await leader.node.stop()
    await other.node.stop()
    await until(lambda: lonely.node.engine.leader_id is None, PATIENCE_S)
    with pytest.raises(NoQuorumError) as caught:
        await lonely.state.propose(project(1), request_id=request(1))
    assert caught.value.outcome is Outcome.NOT_DONE
    with pytest.raises(NoQuorumError):
        await lonely.names(Consistency.LINEARIZABLE)
    assert await lonely.names() == numbered(1)


@pytest.mark.usefixtures("impatient")
async def test_what_a_leader_without_its_majority_took_is_unknown(seats: list[Seat]) -> None:
    leader, *followers = seats
    for follower in followers:
        await follower.node.stop()
    with pytest.raises(DeadlineExceededError) as caught:
        await leader.state.propose(project(0), request_id=request(0))
    assert caught.value.outcome is Outcome.UNKNOWN


async def test_what_a_failed_disk_held_stays_unknown(seats: list[Seat]) -> None:
    """The next try is refused for certain, and says nothing about the first."""
    leader, *followers = seats
    for follower in followers:
        await follower.node.stop()
    engine = leader.node.engine
    held = asyncio.create_task(leader.state.propose(project(0), request_id=request(0)))
    await until(lambda: engine.progress()[engine.me].lag == 0 and engine.waiting.entries > 0)
    engine._fail(OSError("disk"))
    with pytest.raises(DeadlineExceededError) as caught:
        await held
    assert caught.value.outcome is Outcome.UNKNOWN


@pytest.mark.usefixtures("impatient")
async def test_an_answer_that_never_comes_is_unknown(seats: list[Seat]) -> None:
    leader, follower, _ = seats
    leader.service.close()
    LogService(Forgetful(leader.node.engine, lost=1_000), leader.node.end.rpc)
    with pytest.raises(DeadlineExceededError, match="may have been done"):
        await follower.state.propose(project(0), request_id=request(0))
    assert await leader.names() == numbered(1)


@pytest.mark.usefixtures("impatient")
async def test_a_leader_that_answers_nonsense_is_not_believed(seats: list[Seat]) -> None:
    leader, follower, _ = seats
    leader.service.close()

    async def nonsense(peer: object, body: object) -> None:
        return None

    leader.node.end.rpc.serve(voter_state.PROPOSE, nonsense)
    with pytest.raises(Exception, match="bad_field"):
        await follower.state.propose(project(0), request_id=request(0))


# ---- reads


async def test_a_linearizable_read_at_a_follower_sees_what_was_just_answered(seats: list[Seat]) -> None:
    leader, *followers = seats
    for number in range(ROUNDS):
        await leader.state.propose(project(number), request_id=request(number))
        assert f"n{number}" in await followers[number % 2].names(Consistency.LINEARIZABLE)


async def test_a_linearizable_read_outlives_the_death_of_who_leads(seats: list[Seat]) -> None:
    leader, *followers = seats
    await leader.state.propose(project(0), request_id=request(0))
    await leader.node.stop()
    for follower in followers:
        assert await follower.names(Consistency.LINEARIZABLE) == numbered(1)


async def test_rows_that_do_not_come_are_waited_for_so_long(seats: list[Seat]) -> None:
    _, follower, _ = seats
    ahead = LogIndex(follower.state.applied_index + 1_000)
    with pytest.raises(DeadlineExceededError, match=f"not yet at {ahead}"):
        await follower.state.wait_applied(ahead, timeout_ms=20)


async def test_listeners_hear_what_others_proposed(seats: list[Seat]) -> None:
    leader, follower, _ = seats
    heard: list[Command] = []
    unsubscribe: Callable[[], None] = follower.state.subscribe(lambda entry: heard.append(entry.command))
    await leader.state.propose(project(0), request_id=request(0))
    await until(lambda: project(0) in heard)
    unsubscribe()
    await follower.state.propose(project(1), request_id=request(1))
    assert project(1) not in heard
