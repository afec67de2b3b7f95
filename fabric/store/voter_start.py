"""A voter's log and tables at its start: what a crash left of them, made one history again, or refused."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from contextlib import closing

from fabric.core.raft.log import SnapshotMark
from fabric.store.errors import LogCorruptError
from fabric.store.voter_log import Restored, VoterLog
from fabric.store.voter_tables import VoterTables

log = logging.getLogger(__name__)


def found_voter(voter_log: VoterLog, tables: VoterTables, mark: SnapshotMark) -> Restored:
    """A new voter whose log starts at `mark`, before its first entry. A crash meanwhile leaves no log, or
    both. Raises LogCorruptError when there is one already, OSError, SQLAlchemyError."""
    tables.found(mark)
    return voter_log.create(mark)


def restore_voter(
    voter_log: VoterLog,
    tables: VoterTables,
    open_snapshot: Callable[[SnapshotMark], sqlite3.Connection | None],
) -> Restored | None:
    """What the core starts from; None where there is no voter yet.

    The log is the truth. Where it starts anew behind a snapshot that the tables do not hold, the crash came
    between the two, and `open_snapshot` must still have it, for it was durable first.

    Raises LogCorruptError when log and tables are not of one history; nothing is changed then. OSError,
    SQLAlchemyError.
    """
    restored = voter_log.open()
    if restored is None:
        if tables.mark.index > 0:
            raise LogCorruptError(f"there is no log, but the tables hold entries up to {tables.mark.index}")
        return None
    if tables.mark.index < restored.mark.index:
        _finish_install(tables, restored.mark, open_snapshot)
    elif tables.mark.index == 0 and tables.mark != restored.mark:
        tables.found(restored.mark)  # lost since: a copy of them must say who the first voters were
    check_one_history(restored, tables.mark)
    return restored


def _finish_install(
    tables: VoterTables,
    mark: SnapshotMark,
    open_snapshot: Callable[[SnapshotMark], sqlite3.Connection | None],
) -> None:
    snapshot = open_snapshot(mark)
    if snapshot is None:
        raise LogCorruptError(
            f"the tables end at entry {tables.mark.index}, the log starts behind {mark.index}. Restore the "
            "state directory from a backup, or let this node start anew as a learner"
        )
    with closing(snapshot):
        tables.install(snapshot, mark)
    log.info("snapshot put in after a crash", extra={"index": mark.index})


def check_one_history(restored: Restored, applied: SnapshotMark) -> None:
    """Raises LogCorruptError."""
    at = applied.index - restored.mark.index
    if at > len(restored.entries):
        raise LogCorruptError(
            f"the tables hold entries up to {applied.index}, the log ends at "
            f"{restored.mark.index + len(restored.entries)}"
        )
    term = restored.entries[at - 1].term if at else restored.mark.term
    if term != applied.term:
        raise LogCorruptError(
            f"the tables are not of this log: entry {applied.index} is of term {applied.term} in them, of "
            f"term {term} in the log"
        )
