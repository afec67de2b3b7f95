"""A group made anew after a disaster, from tables that are left: one voter, a later incarnation.

Incarnation and index grow by a leap, and to the clock's time where that is more (seconds for the one,
milliseconds for the other). Old voters are refused by the one. The other puts every index and fence of the
new life above all that the lost part of the log had given: hosts refuse answers older than those they have
acted on, and nobody counts on indices without gaps. The clock keeps two lives made from one backup apart.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, update

from fabric.core.raft.configuration import Configuration
from fabric.core.raft.log import SnapshotMark
from fabric.core.raft.ready import HardState
from fabric.store import tables as t
from fabric.store.errors import LogFailedError
from fabric.store.files import OsFiles
from fabric.store.incarnation import write_incarnation
from fabric.store.sqlite import DATABASE, checkpoint, copy_database
from fabric.store.voter_id import name_voter
from fabric.store.voter_log import VoterLog
from fabric.store.voter_tables import advance_to
from proto.ids import LogIndex, NodeId, Term, VoterId

INDEX_LEAP = 1_000_000  # far more entries than a lost majority was ahead


@dataclass(frozen=True, slots=True)
class NewLife:
    voter: VoterId
    incarnation: int
    index: LogIndex


def copy_tables(source: sqlite3.Connection, building: Path, name: str = DATABASE) -> None:
    """Raises sqlite3.Error, OSError."""
    path = building / name
    path.touch(mode=0o600)
    copy_database(source, path)


def next_numbers(old_incarnation: int, after: int, now_ms: int) -> tuple[int, LogIndex]:
    """The new life's incarnation, and the index it begins at, where the old one is known up to `after`."""
    return max(old_incarnation + 1, now_ms // 1_000), LogIndex(max(after + INDEX_LEAP, now_ms))


def raise_fences(connection: Connection, index: LogIndex) -> None:
    """Raised, not deleted: where nobody holds a role, any fence would do. In the transaction that moves the
    position."""
    connection.execute(update(t.role_grants).values(fence=index))


def begin_new_life(
    connection: Connection,
    building: Path,
    node_id: NodeId,
    *,
    after: SnapshotMark,
    last_term: Term,
    old_incarnation: int,
    time_ms: int,
    now_ms: int,
) -> NewLife:
    """The tables in `building`, which hold entries up to `after` and are `connection`'s, become those of a
    voter that is its whole group. `last_term`: the highest ever heard of. `life_swap.commit` makes it
    the state.

    Raises OSError, SQLAlchemyError, LogFailedError.
    """
    incarnation, index = next_numbers(old_incarnation, after.index, now_ms)
    me = name_voter(building, node_id)
    write_incarnation(building, incarnation)
    mark = SnapshotMark(index, Term(max(last_term, after.term) + 1), Configuration(frozenset({me})))
    with connection.begin():
        raise_fences(connection, index)
        advance_to(connection, mark, time_ms)
    if not checkpoint(connection):
        raise LogFailedError(f"{building / DATABASE} is in use by somebody else")
    with closing(VoterLog(OsFiles(building / "log"))) as voter_log:
        voter_log.create(mark)
        voter_log.write(hard_state=HardState(mark.term))
    return NewLife(me, incarnation, index)
