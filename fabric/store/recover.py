"""One voter is left of a lost majority: it becomes the whole group of a new life, from what it has.

All entries of its own log are kept, also those of which it cannot know whether they were committed. Any of
them may have been acknowledged, for its leader may have heard of a majority that it did not; none of them can
contradict one that was. What only the lost voters had is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, select

from fabric.core.raft.log import SnapshotMark
from fabric.store import tables as t
from fabric.store.errors import LogCorruptError
from fabric.store.files import OsFiles
from fabric.store.incarnation import read_incarnation
from fabric.store.life_swap import STATE, begin_building, commit, settle
from fabric.store.lock import DirectoryLock
from fabric.store.new_life import NewLife, begin_new_life, copy_tables
from fabric.store.snapshot_files import SNAPSHOTS, SnapshotFiles
from fabric.store.sqlite import DATABASE, open_reader, opened_writer
from fabric.store.voter_log import Restored, VoterLog
from fabric.store.voter_start import restore_voter
from fabric.store.voter_tables import VoterTables
from proto.ids import NodeId, Term


def recover_survivor(
    node_directory: Path, node_id: NodeId, *, now_ms: int, source: Path | None = None
) -> tuple[NewLife, Path | None]:
    """The new life, and where the state before is. The node's lock is held. `source`: the voter's directory,
    where it is not the state: one that was set aside, say.

    Raises StoreLockedError, LogCorruptError, SchemaVersionError, HaltedError (the log holds what this
    program cannot apply), OSError, sqlite3.Error, SQLAlchemyError, LogFailedError; nothing is changed then.
    """
    settle(node_directory)
    state = source or node_directory / STATE
    with all_it_has(state, lambda: begin_building(node_directory)) as found:
        life = begin_new_life(
            found.connection,
            found.building,
            node_id,
            after=found.mark,
            last_term=found.last_term,
            old_incarnation=read_incarnation(state),
            time_ms=found.time_ms,
            now_ms=now_ms,
        )
    return life, commit(node_directory)


@dataclass(frozen=True, slots=True)
class Gathered:
    """Tables of their own in `building`, with every entry of a stopped voter's log folded in."""

    building: Path
    connection: Connection
    mark: SnapshotMark
    last_term: Term  # the highest that voter ever heard of
    time_ms: int


@contextmanager
def all_it_has(state: Path, build: Callable[[], Path]) -> Iterator[Gathered]:
    """`build` makes the directory to gather in, when the log is known to be sound. The node's lock is held.
    Raises as `recover_survivor`."""
    restored = _mend(state)
    building = build()
    with closing(open_reader(state / DATABASE)) as tables:
        copy_tables(tables, building)
    with opened_writer(building / DATABASE) as connection:
        folded = VoterTables(connection)
        folded.fold_in_groups(restored.entries[folded.mark.index - restored.mark.index :])
        with connection.begin():
            time_ms = connection.execute(select(t.position.c.time_ms)).scalar_one()
        yield Gathered(building, connection, folded.mark, restored.hard_state.term, time_ms)


def _mend(state: Path) -> Restored:
    """What the agent would do at its start: log and tables are of one history."""
    if not state.is_dir():
        raise LogCorruptError(f"there is no voter in {state}")
    lock = DirectoryLock(state)
    lock.acquire()
    try:
        with (
            closing(VoterLog(OsFiles(state / "log"))) as voter_log,
            opened_writer(state / DATABASE) as connection,
        ):
            snapshots = SnapshotFiles(state / SNAPSHOTS)
            restored = restore_voter(voter_log, VoterTables(connection), snapshots.open)
    finally:
        lock.release()
    if restored is None:
        raise LogCorruptError(f"there is no log in {state}")
    return restored
