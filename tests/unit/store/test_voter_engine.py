"""Voters with real disks, threads and clocks, joined by a wire in this process that the tests can cut."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from fabric.core.identity.queries import ListProjects
from fabric.core.queries import Applied, AppliedEntry, Consistency
from fabric.core.raft.config import RaftConfig
from fabric.core.raft.configuration import Configuration
from fabric.core.raft.events import Campaign
from fabric.core.raft.log import SnapshotMark
from fabric.errors import CommandRejectedError, NotLeaderError
from fabric.runtime.clock import SystemClock
from fabric.store import voter_compaction, voter_engine
from fabric.store.errors import StoreBusyError, StoreFailedError, StoreLockedError, StoreStoppedError
from fabric.store.voter_engine import VoterEngine
from fabric.store.voter_start import Restored, restore_voter
from proto.commands.identity import ProjectCreate
from proto.ids import LogIndex, ProjectId, RequestId, Term, VoterId
from proto.raft import Append, AppendReply, EntryKind, LogEntry, RaftMessage, TimeoutNow, VoteReply
from tests.fixtures.store_world import DOMAIN, fabric_init
from tests.sim.raft_files import SimFiles

CONFIG = RaftConfig(heartbeat_ms=50, election_ms=400)
PATIENCE_S = 60.0
A, B, C = map(VoterId, "abc")


class Wire:
    """Between the voters of one test. What is sent arrives in a later turn of the loop, or never."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.voters: dict[VoterId, VoterEngine] = {}
        self.cut: set[VoterId] = set()  # who hears and is heard by nobody
        self.told_to_stand: list[VoterId] = []  # by whom, for each TimeoutNow

    def of(self, me: VoterId) -> End:
        return End(self, me)

    async def start(self, me: VoterId, founders: Configuration, **changes: object) -> VoterEngine:
        engine = VoterEngine(
            self.folder / me,
            me,
            founders=founders,
            clock=SystemClock(),
            rng=Random(me),
            peers=self.of(me),
            config=CONFIG,
            segment_bytes=1,
            **changes,  # type: ignore[arg-type]
        )
        await engine.open()
        self.voters[me] = engine
        return engine

    async def stop(self, me: VoterId) -> None:
        await self.voters.pop(me).close()

    def reaches(self, sender: VoterId, to: VoterId) -> bool:
        return to in self.voters and not {sender, to} & self.cut


class End:
    def __init__(self, wire: Wire, me: VoterId) -> None:
        self._wire = wire
        self._me = me

    def send(self, to: VoterId, message: RaftMessage) -> None:
        if isinstance(message, TimeoutNow):
            self._wire.told_to_stand.append(self._me)
        asyncio.get_running_loop().call_soon(self._arrive, to, message)

    def _arrive(self, to: VoterId, message: RaftMessage) -> None:
        if self._wire.reaches(self._me, to):
            self._wire.voters[to].receive(self._me, message)

    async def send_snapshot(self, to: VoterId, term: Term, mark: SnapshotMark, path: Path) -> None:
        if not self._wire.reaches(self._me, to):
            raise OSError(errno.EHOSTUNREACH, "cut")
        target = self._wire.voters[to]
        incoming = target.incoming_snapshot(self._me)
        await asyncio.to_thread(shutil.copyfile, path, incoming)
        await target.receive_snapshot(self._me, term, mark, incoming)


@asynccontextmanager
async def group(folder: Path, *names: VoterId, **changes: object) -> AsyncIterator[Wire]:
    wire = Wire(folder)
    try:
        for name in names:
            await wire.start(name, Configuration(frozenset(names)), **changes)
        yield wire
    finally:
        for name in list(wire.voters):
            await wire.stop(name)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():
            await asyncio.sleep(0.01)


async def leader_of(wire: Wire) -> VoterEngine:
    def leaders() -> list[VoterEngine]:
        return [v for v in wire.voters.values() if v.is_leader and v.me not in wire.cut]

    await until(lambda: len(leaders()) == 1)
    return leaders()[0]


def project(number: int, size: int = 0) -> ProjectCreate:
    return ProjectCreate(
        project_id=ProjectId(f"p{number}"), domain_id=DOMAIN, name=f"n{number}", description="x" * size
    )


async def put(wire: Wire, number: int, size: int = 0) -> Applied:
    """As a client that asks again, under the same id, until it knows."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            leader = await leader_of(wire)
            try:
                return await leader.propose(project(number, size), request_id=RequestId(f"q{number}"))
            except (NotLeaderError, StoreFailedError, StoreStoppedError):
                await asyncio.sleep(0.02)


async def begin(wire: Wire) -> None:
    await (await leader_of(wire)).propose(fabric_init(), request_id=RequestId("q-init"))


async def names(voter: VoterEngine) -> set[str]:
    return {found.name for found in await voter.read(ListProjects())} - {"admin", "service"}


def numbered(count: int) -> set[str]:
    return {f"n{number}" for number in range(count)}


async def test_one_voter_alone_keeps_what_it_said(tmp_path: Path) -> None:
    async with group(tmp_path, A) as wire:
        await begin(wire)
        await asyncio.gather(*(put(wire, number) for number in range(50)))
        assert await names(wire.voters[A]) == numbered(50)
    async with group(tmp_path, A) as wire:
        again = await put(wire, 7)
        assert again.replayed
        assert await names(wire.voters[A]) == numbered(50)


async def test_three_voters_hold_the_same(tmp_path: Path) -> None:
    async with group(tmp_path, A, B, C) as wire:
        await begin(wire)
        done = await asyncio.gather(*(put(wire, number) for number in range(30)))
        last = max(one.index for one in done)
        for voter in wire.voters.values():
            await voter.wait_applied(last)
            assert await names(voter) == numbered(30)


async def test_who_does_not_lead_says_who_does_and_does_nothing(tmp_path: Path) -> None:
    async with group(tmp_path, A, B, C) as wire:
        await begin(wire)
        leader = await leader_of(wire)
        follower = next(v for v in wire.voters.values() if v is not leader)
        await until(lambda: follower.leader_id == leader.me)
        with pytest.raises(NotLeaderError, match=f"voter {leader.me} leads"):
            await follower.propose(project(1), request_id=RequestId("q1"))
        with pytest.raises(NotLeaderError):
            await follower.read(ListProjects(), consistency=Consistency.LINEARIZABLE)
        assert await names(leader) == set()


async def test_a_killed_leader_costs_no_acknowledged_write(tmp_path: Path) -> None:
    async with group(tmp_path, A, B, C) as wire:
        await begin(wire)
        for number in range(10):
            await put(wire, number)
        dead = (await leader_of(wire)).me
        writes = [asyncio.create_task(put(wire, number)) for number in range(10, 20)]
        await asyncio.sleep(0)
        await wire.stop(dead)
        await asyncio.gather(*writes)
        back = await wire.start(dead, Configuration())
        last = max(voter.applied_index for voter in wire.voters.values())
        await back.wait_applied(last)
        for voter in wire.voters.values():
            await voter.wait_applied(last)
            assert await names(voter) == numbered(20)


async def test_a_leader_that_is_cut_off_answers_nobody(tmp_path: Path) -> None:
    async with group(tmp_path, A, B, C) as wire:
        await begin(wire)
        old = await leader_of(wire)
        wire.cut = {old.me}
        lost = [
            asyncio.create_task(old.propose(project(n), request_id=RequestId(f"q{n}"))) for n in (97, 98, 99)
        ]
        stale = asyncio.create_task(old.read(ListProjects(), consistency=Consistency.LINEARIZABLE))
        await put(wire, 1)
        with pytest.raises(NotLeaderError):
            await stale
        assert not any(one.done() for one in lost), "neither done nor refused while they may become either"
        wire.cut = set()
        await put(wire, 2)
        await put(wire, 3)
        for one in lost:  # whatever entries are in their places now
            with pytest.raises(NotLeaderError):
                await one
        await old.wait_applied(max(voter.applied_index for voter in wire.voters.values()))
        assert await names(old) == {"n1", "n2", "n3"}


async def test_a_linearizable_read_sees_what_was_answered_before(tmp_path: Path) -> None:
    async with group(tmp_path, A, B, C) as wire:
        await begin(wire)
        for number in range(5):
            await put(wire, number)
            leader = await leader_of(wire)
            found = await leader.read(ListProjects(), consistency=Consistency.LINEARIZABLE)
            assert f"n{number}" in {one.name for one in found}


async def test_the_lead_is_handed_over(tmp_path: Path) -> None:
    async with group(tmp_path, A, B, C) as wire:
        await begin(wire)
        old = await leader_of(wire)
        to = next(name for name in wire.voters if name != old.me)
        old.transfer(to)
        await until(lambda: wire.voters[to].is_leader)
        await put(wire, 1)


async def lead(wire: Wire, me: VoterId) -> None:
    """Until `me` has the lead, by hand-over."""
    while (leader := await leader_of(wire)).me != me:
        leader.transfer(me)
        await until(lambda leader=leader: not leader.is_leader)  # type: ignore[misc]


async def test_who_has_a_low_disk_refuses_and_hands_over_but_not_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with group(tmp_path, B, C) as wire:
        await begin(wire)
        await wire.start(A, Configuration(), disk_free_bytes_min=1 << 62)
        (await leader_of(wire)).change(frozenset([A, B, C]))
        await until(lambda: wire.voters[A].configuration == Configuration(frozenset([A, B, C])))
        await put(wire, 1)
        low = wire.voters[A]

        async def refused() -> None:
            with pytest.raises(StoreBusyError, match="disk space"):
                await low.propose(project(2), request_id=RequestId("q2"))

        await lead(wire, A)
        await low.wait_applied(await low.read_index())
        await refused()
        await until(lambda: not low.is_leader)
        await put(wire, 2)
        await lead(wire, A)
        await low.wait_applied(await low.read_index())
        told = wire.told_to_stand.count(A)
        await refused()
        await low.read_index()
        assert (low.is_leader, wire.told_to_stand.count(A)) == (True, told)
        monkeypatch.setattr(voter_engine, "HAND_OVER_EVERY_MS", 0)
        await refused()
        await until(lambda: not low.is_leader)


async def test_a_newcomer_behind_the_cut_log_gets_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voter_compaction, "COMPACT_ENTRIES", 20)
    monkeypatch.setattr(voter_compaction, "TRAIL_ENTRIES", 5)
    async with group(tmp_path, A) as wire:
        await begin(wire)
        for number in range(60):
            await put(wire, number)
        await wire.start(B, Configuration())
        wire.voters[A].change(frozenset([A]), frozenset([B]))
        await put(wire, 60)
        await wire.voters[B].wait_applied(wire.voters[A].applied_index)
        assert await names(wire.voters[B]) == numbered(61)
        wire.voters[A].change(frozenset([A, B]))
        await until(lambda: wire.voters[B].configuration == Configuration(frozenset([A, B])))
        await put(wire, 61)
        await wire.stop(B)
        again = await wire.start(B, Configuration())
        await again.wait_applied(wire.voters[A].applied_index)
        assert await names(again) == numbered(62)


async def test_old_segments_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few large entries fill them long before many small ones would."""
    monkeypatch.setattr(voter_compaction, "SEGMENTS_MAX", 2)
    monkeypatch.setattr(voter_compaction, "TRAIL_SHORT_ENTRIES", 2)
    async with group(tmp_path, A) as wire:
        await begin(wire)
        for number in range(30):
            await put(wire, number, size=200_000)
        await until(lambda: len(list((tmp_path / "a" / "log").glob("*.vseg"))) <= 3)
    async with group(tmp_path, A) as wire:
        await leader_of(wire)
        assert await names(wire.voters[A]) == numbered(30)


@pytest.mark.parametrize(("function", "code"), [("fdatasync", errno.EIO), ("pwrite", errno.ENOSPC)])
async def test_a_failing_disk_stops_the_voter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, code: int
) -> None:
    failures: list[BaseException] = []
    async with group(tmp_path, A, on_failure=failures.append) as wire:
        await begin(wire)
        await put(wire, 0)

        def fail(*_arguments: object) -> None:
            raise OSError(code, os.strerror(code))

        engine = wire.voters[A]
        with monkeypatch.context() as broken:
            broken.setattr(os, function, fail)
            answers = await asyncio.gather(
                *(engine.propose(project(n), request_id=RequestId(f"q{n}")) for n in range(1, 20)),
                return_exceptions=True,
            )
        assert {type(answer) for answer in answers} <= {StoreFailedError, StoreStoppedError}
        assert any(isinstance(answer, StoreFailedError) for answer in answers)
        with pytest.raises(StoreStoppedError):  # the disk is well again: still no
            await engine.propose(project(50), request_id=RequestId("q50"))
        assert failures == [engine.failure]
    async with group(tmp_path, A) as wire:
        for number in range(1, 20):
            await put(wire, number)  # under the same ids: once each, whatever had been written
        assert await names(wire.voters[A]) == numbered(20)


@pytest.mark.parametrize(("spared", "error"), [(0, OSError), (1, StoreStoppedError)])
async def test_who_fails_while_it_opens_leaves_nothing_open(
    tmp_path: Path, spared: int, error: type[Exception]
) -> None:
    """The first write is of what may not be on the disk yet, the second of its own vote."""
    disk = SimFiles()
    async with group(tmp_path, A, files=disk) as wire:
        await begin(wire)
    left = iter(range(spared))
    disk.fail_when(lambda operation: operation == "write" and next(left, None) is None)
    with pytest.raises(error):
        await wire.start(A, Configuration(), files=disk)
    disk.fail_when(lambda operation: False)
    await wire.start(A, Configuration(), files=disk)
    await put(wire, 1)
    await wire.stop(A)


async def test_too_much_in_flight_is_refused(tmp_path: Path) -> None:
    async with group(tmp_path, A, in_flight_max=10) as wire:
        await begin(wire)
        engine = wire.voters[A]
        answers = await asyncio.gather(
            *(engine.propose(project(n), request_id=RequestId(f"q{n}")) for n in range(40)),
            return_exceptions=True,
        )
        assert sum(isinstance(answer, StoreBusyError) for answer in answers) == 30
        assert len(await names(engine)) == 10


async def test_who_goes_away_leaves_the_command_and_its_place_in_flight(tmp_path: Path) -> None:
    async with group(tmp_path, A, in_flight_max=1) as wire:
        await begin(wire)
        engine = wire.voters[A]
        its_index = LogIndex(engine.applied_index + 1)
        leaving = asyncio.create_task(engine.propose(project(0), request_id=RequestId("q0")))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        assert leaving.cancelled()
        with pytest.raises(StoreBusyError):
            await engine.propose(project(1), request_id=RequestId("q1"))
        await engine.wait_applied(its_index)
        assert len(await names(engine)) == 1
        await engine.propose(project(1), request_id=RequestId("q1"))


async def test_closing_leaves_nobody_waiting(tmp_path: Path) -> None:
    async with group(tmp_path, A) as wire:
        await begin(wire)
        engine = wire.voters[A]
        waiting = [
            asyncio.create_task(engine.propose(project(n), request_id=RequestId(f"q{n}"))) for n in range(9)
        ]
        await asyncio.sleep(0)
        await wire.stop(A)
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(one, Applied | StoreFailedError | StoreStoppedError) for one in answers)
        with pytest.raises(StoreStoppedError, match="closed"):
            await engine.propose(project(1), request_id=RequestId("q1"))


async def test_what_a_lost_lead_left_is_answered_when_its_place_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where this voter itself takes it, with a command that somebody else waits for."""
    monkeypatch.setitem(globals(), "CONFIG", RaftConfig(heartbeat_ms=50, election_ms=60_000))
    wire = Wire(tmp_path)
    voter = await wire.start(A, Configuration(frozenset([A, B, C])))

    async def lead() -> None:
        voter._handle(Campaign())
        term = voter.term
        voter.receive(B, VoteReply(term=term, granted=True))
        await until(lambda: voter.is_leader and voter.term == term)

    def waiting() -> int:
        return voter.waiting.commands

    async def ask(number: int) -> asyncio.Task[Applied]:
        before = waiting()
        asked = asyncio.create_task(voter.propose(project(number), request_id=RequestId(f"q{number}")))
        await until(lambda: waiting() > before)
        return asked

    try:
        await lead()
        former = [await ask(0), await ask(1)]  # entries 2 and 3
        await until(lambda: voter.waiting.entries == 2)
        nothing = LogEntry(index=LogIndex(1), term=Term(voter.term + 1), kind=EntryKind.NOTHING, data=b"")
        voter.receive(
            B,
            Append(
                term=nothing.term,
                previous_index=LogIndex(0),
                previous_term=Term(0),
                commit_index=LogIndex(0),
                entries=(nothing,),
            ),
        )
        await lead()
        later = asyncio.create_task(voter.propose(fabric_init(), request_id=RequestId("q-init")))  # entry 3
        await until(lambda: waiting() == 3 and not voter._gathered)
        voter.receive(B, AppendReply(term=voter.term, matched=True, index=LogIndex(3)))
        async with asyncio.timeout(PATIENCE_S):
            assert (await later).index == 3
            for task in former:
                with pytest.raises(NotLeaderError):
                    await task
        assert waiting() == 0
    finally:
        await wire.stop(A)


async def test_who_gives_up_waiting_for_an_entry_leaves_nothing(tmp_path: Path) -> None:
    async with group(tmp_path, A) as wire:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await wire.voters[A].wait_applied(LogIndex(1 << 53))
        assert wire.voters[A].waiting.for_rows == 0


async def test_an_opening_that_is_cut_short_leaves_the_directory_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slowly(*parts: Any) -> Restored | None:
        loop.call_soon_threadsafe(begun.set)
        assert go_on.wait(PATIENCE_S)
        return restore_voter(*parts)

    with monkeypatch.context() as patch:
        patch.setattr(voter_engine, "restore_voter", slowly)
        opening = asyncio.create_task(Wire(tmp_path).start(A, Configuration(frozenset({A}))))
        await begun.wait()
        opening.cancel()
        loop.call_later(0, go_on.set)
        with pytest.raises(asyncio.CancelledError):
            await opening
    async with group(tmp_path, A) as wire:
        await begin(wire)


async def test_a_directory_has_one_owner(tmp_path: Path) -> None:
    async with group(tmp_path, A) as wire:
        with pytest.raises(StoreLockedError):
            await Wire(tmp_path).start(A, Configuration())
        await begin(wire)


async def test_listeners_hear_what_was_applied_on_every_voter(tmp_path: Path) -> None:
    async with group(tmp_path, A, B, C) as wire:
        heard: dict[VoterId, list[AppliedEntry]] = {name: [] for name in wire.voters}
        for name, voter in wire.voters.items():
            voter.subscribe(heard[name].append)
        await begin(wire)
        await put(wire, 1)
        await put(wire, 1)  # a replay is no news
        with pytest.raises(CommandRejectedError):
            await (await leader_of(wire)).propose(project(1), request_id=RequestId("other"))
        last = await put(wire, 2)
        for name, voter in wire.voters.items():
            await voter.wait_applied(last.index)
            assert [one.command.KIND for one in heard[name]] == ["fabric.init", *["project.create"] * 2]
