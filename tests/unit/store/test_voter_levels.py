"""Voters of two versions with real disks and threads: a rolling upgrade, and who is left behind by one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fabric.core.raft.configuration import Configuration
from fabric.core.raft.events import Propose
from fabric.errors import CommandRejectedError, NotLeaderError
from fabric.store.command_entry import encode_command_entry
from fabric.store.errors import SchemaVersionError, SnapshotRefusedError, StoreFailedError, StoreStoppedError
from fabric.store.lone_voter import ALONE
from fabric.store.program import Program
from fabric.store.sqlite import DATABASE
from fabric.store.voter_engine import VoterEngine
from proto.commands import encode_command
from proto.commands.log import LogCompare
from proto.ids import LogIndex, RequestId, VoterId
from tests.fixtures.next_program import BASELINE, THREE, TWO, Paint
from tests.unit.store.test_voter_engine import (
    PATIENCE_S,
    A,
    B,
    C,
    Wire,
    begin,
    leader_of,
    names,
    numbered,
    project,
    put,
    until,
)

THREE_VOTERS = Configuration(frozenset({A, B, C}))


@asynccontextmanager
async def mixed(folder: Path, programs: Mapping[VoterId, Program]) -> AsyncIterator[Wire]:
    wire = Wire(folder)
    try:
        for name, program in programs.items():
            await wire.start(name, Configuration(frozenset(programs)), program=program)
        await begin(wire)
        yield wire
    finally:
        for name in list(wire.voters):
            await wire.stop(name)


async def raised(wire: Wire, to: int) -> LogIndex:
    """As the autopilot asks, again and again."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            leader = await leader_of(wire)
            if leader.level >= to:
                return leader.applied_index
            try:
                return (await leader.raise_level(to)).index
            except (CommandRejectedError, NotLeaderError, StoreFailedError, StoreStoppedError):
                await asyncio.sleep(0.02)


async def leads(wire: Wire, names: set[VoterId]) -> VoterEngine:
    """One of these."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            leader = await leader_of(wire)
            if leader.me in names:
                return leader
            leader.transfer(min(names))
            await asyncio.sleep(0.05)


async def test_a_rolling_upgrade_ends_in_the_new_level_with_equal_rows(tmp_path: Path) -> None:
    async with mixed(tmp_path, {A: BASELINE, B: BASELINE, C: TWO}) as wire:
        for number, name in enumerate((A, B)):
            leader = await leader_of(wire)
            with pytest.raises(CommandRejectedError, match="needs level 2 of the fabric, which is at 1"):
                await leader.propose(Paint(colour="red"), request_id=RequestId("early"))
            await wire.stop(name)
            await wire.start(name, Configuration(), program=TWO)
            await put(wire, number)
        index = await raised(wire, 2)
        leader = await leader_of(wire)
        painted = await leader.propose(
            Paint(colour="red", project_id="p1"),
            request_id=RequestId("early"),  # it was never in the log
        )
        assert painted.index > index
        compared = await leader.propose(LogCompare(), request_id=RequestId("compare"))
        for voter in wire.voters.values():
            await voter.wait_applied(compared.index)
            await until(lambda voter=voter: voter.digest(compared.index) is not None)
            assert (voter.level, voter.halt) == (2, None)
        assert len({voter.digest(compared.index) for voter in wire.voters.values()}) == 1


async def test_who_is_left_behind_keeps_the_log_votes_and_goes_on_after_its_upgrade(tmp_path: Path) -> None:
    async with mixed(tmp_path, {A: BASELINE, B: TWO, C: TWO}) as wire:
        await put(wire, 0)
        await leads(wire, {B, C})
        index = await raised(wire, 2)  # by force: the autopilot would have waited
        behind = wire.voters[A]
        await until(lambda: behind.halt is not None)
        assert f"entry {index}" in str(behind.halt)
        assert behind.failure is None
        assert (behind.level, behind.applied_index) == (1, index - 1)
        assert await names(behind) == numbered(1)
        with pytest.raises(StoreStoppedError, match="cannot apply entry"):
            await behind.wait_applied(index)

        # it never leads, whoever asks it to, and its word makes the other one's majority
        leader = await leads(wire, {B, C})
        leader.transfer(A)
        await put(wire, 1)
        leader = await leads(wire, {B, C})
        other = next(name for name in (B, C) if name != leader.me)
        await wire.stop(other)
        await put(wire, 2)
        assert not behind.is_leader
        await wire.start(other, Configuration(), program=TWO)

        await wire.stop(A)
        again = await wire.start(A, Configuration(), program=TWO)
        done = await put(wire, 3)
        await again.wait_applied(done.index)
        assert (again.level, again.halt) == (2, None)
        assert await names(again) == numbered(4)


async def test_a_leader_that_cannot_go_on_gives_the_lead_up(tmp_path: Path) -> None:
    async with mixed(tmp_path, {A: BASELINE, B: TWO, C: TWO}) as wire:
        leader = await leads(wire, {A})
        held = asyncio.create_task(leader.wait_applied(LogIndex(leader.applied_index + 1_000)))
        data = encode_command_entry(0, RequestId("raise"), encode_command(TWO.raise_to(2)))
        leader._handle(Propose([(object(), data)]))
        await until(lambda: leader.halt is not None)
        assert not leader.is_leader
        with pytest.raises(NotLeaderError):
            await leader.propose(project(0), request_id=RequestId("q0"))
        with pytest.raises(StoreStoppedError):
            await held
        await put(wire, 1)
        assert (await leader_of(wire)).level == 2


async def test_a_snapshot_of_a_level_beyond_it_halts_a_voter(tmp_path: Path) -> None:
    async with mixed(tmp_path, {A: BASELINE, B: TWO, C: TWO}) as wire:
        await leads(wire, {B, C})
        await put(wire, 0)
        behind = wire.voters[A]
        wire.cut.add(A)
        await raised(wire, 2)
        leader = await leader_of(wire)
        copy = tmp_path / "copy"
        await leader._rows.copy(copy)
        mark = leader._tables.mark
        incoming = behind.incoming_snapshot(leader.me)
        copy.rename(incoming)
        with pytest.raises(SnapshotRefusedError, match="level 2, and this program can apply 1 at most"):
            await behind.receive_snapshot(leader.me, leader.term, mark, incoming)
        assert behind.halt is not None
        with pytest.raises(SnapshotRefusedError, match="has halted"):
            behind.incoming_snapshot(leader.me)  # before anybody sends all of it again


async def test_one_alone_says_what_it_cannot_apply_and_a_newer_program_opens_it(tmp_path: Path) -> None:
    async with mixed(tmp_path, {ALONE: TWO}) as wire:
        index = await raised(wire, 2)
        await put(wire, 0)
        await wire.stop(ALONE)
        with pytest.raises(SchemaVersionError, match="run a newer one"):
            await wire.start(ALONE, Configuration(), program=BASELINE)
        for path in (tmp_path / ALONE).glob(f"{DATABASE}*"):
            path.unlink()  # the rows are made again from the log
        with pytest.raises(StoreStoppedError, match=f"entry {index}"):
            await wire.start(ALONE, Configuration(), program=BASELINE)
        again = await wire.start(ALONE, Configuration(), program=THREE)
        assert (again.level, await names(again)) == (2, numbered(1))
