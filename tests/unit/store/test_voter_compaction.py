"""A log is cut behind what the tables made durable; a try that came to nothing waits before the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from fabric.core.raft.configuration import Configuration
from fabric.core.raft.log import SnapshotMark
from fabric.core.raft.ready import HardState
from fabric.store import voter_compaction
from fabric.store.snapshot_files import SnapshotFiles
from fabric.store.sqlite import open_writer
from fabric.store.voter_compaction import PAUSE_ENTRIES, VoterCompaction
from fabric.store.voter_log import VoterLog
from fabric.store.voter_start import found_voter
from fabric.store.voter_tables import VoterTables
from proto.ids import LogIndex, Term, VoterId
from proto.raft import EntryKind, LogEntry
from tests.sim.raft_files import SimFiles

R = TypeVar("R")
DUE = 25  # entries, here
FOUNDED = SnapshotMark(LogIndex(0), Term(0), Configuration(frozenset({VoterId("a")})))


class AtOnce:
    """A thread that is always done already."""

    def run(self, job: Callable[[], R], then: Callable[[R], None]) -> None:
        then(job())

    async def close(self) -> None: ...


class World:
    def __init__(self, tables: VoterTables, directory: Path) -> None:
        self.log = VoterLog(SimFiles())
        self.tries = 0
        self.is_streaming = False  # a snapshot to somebody, who needs the log behind it
        found_voter(self.log, tables, FOUNDED)
        entries = [
            LogEntry(index=LogIndex(index), term=Term(1), kind=EntryKind.NOTHING)
            for index in range(1, DUE + 1)
        ]
        self.log.write(hard_state=HardState(Term(1)), entries=entries)
        tables.fold(entries)
        self.compaction = VoterCompaction(
            self.log, tables, SnapshotFiles(directory), AtOnce(), AtOnce(), self._cut
        )

    def _cut(self, index: LogIndex) -> SnapshotMark | None:
        self.tries += 1
        return None if self.is_streaming else SnapshotMark(index, Term(1), FOUNDED.configuration)

    def fold_to(self, applied: int) -> None:
        self.compaction.begin_if_due(LogIndex(0), LogIndex(applied))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(voter_compaction, "COMPACT_ENTRIES", 20)
    monkeypatch.setattr(voter_compaction, "TRAIL_ENTRIES", 5)
    connection = open_writer(tmp_path / "state.sqlite")
    yield World(VoterTables(connection), tmp_path / "snapshots")
    connection.close()
    connection.engine.dispose()


def test_nothing_is_cut_before_there_is_enough(world: World) -> None:
    world.fold_to(DUE - 1)
    assert world.tries == 0
    world.fold_to(DUE)
    assert world.tries == 1


def test_while_a_snapshot_streams_it_is_tried_once_in_a_while(world: World) -> None:
    world.is_streaming = True
    for applied in range(DUE, DUE + 2 * PAUSE_ENTRIES):
        world.fold_to(applied)
    assert world.tries == 2
    world.is_streaming = False
    world.fold_to(DUE + 2 * PAUSE_ENTRIES)
    assert world.tries == 3
