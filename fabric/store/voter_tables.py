"""One voter's tables: committed entries folded into SQLite, and whole copies of them for who is behind.

The position (index, term, configuration) is written in the same transaction as what the entries did, so rows
and position never part (etcd 3.5.0 to 3.5.5 lost that, and replicas differed). SQLite runs with
synchronous=NORMAL: after a power loss the rows may be behind the log, never ahead of it. Owned by one thread
at a time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from fabric.core.raft.configuration import decode_configuration, decode_known, encode_known
from fabric.core.raft.log import SnapshotMark
from fabric.core.raft.pipeline import FOLD_ENTRIES_MAX
from fabric.store import tables as t
from fabric.store.apply import Entry, Outcome, advance, apply_group
from fabric.store.command_entry import decode_command_entry
from fabric.store.errors import SnapshotRefusedError
from fabric.store.schema import SCHEMA_VERSION, create_schema
from fabric.store.sqlite import checkpoint, raw
from proto.commands.log import LogCompare
from proto.errors import WireError
from proto.ids import LogIndex, Term
from proto.raft import EntryKind, LogEntry


@dataclass(frozen=True, slots=True)
class Folded:
    """A command, and what came of it."""

    entry: Entry
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class _Run:
    """What one transaction takes, and where the rows are behind it."""

    entries: Sequence[LogEntry]
    commands: list[Entry]
    mark: SnapshotMark
    time_ms: int


class VoterTables:
    def __init__(self, connection: Connection) -> None:
        """Makes tables where there are none. Raises SchemaVersionError, SQLAlchemyError."""
        self._connection = connection
        self.on_compare: Callable[[LogIndex], None] = lambda index: None  # on the thread that folds
        with connection.begin():
            create_schema(connection)
        self._mark, self._time_ms = self._read_position()

    @property
    def mark(self) -> SnapshotMark:
        """What the rows hold: a copy of them is the snapshot with this mark."""
        return self._mark

    def found(self, mark: SnapshotMark) -> None:
        """The log starts at `mark`, before its first entry, and nothing was folded yet."""
        assert self._mark.index == 0 == mark.index
        with self._connection.begin():
            advance_to(self._connection, mark, 0)
        self._mark = mark

    def fold(self, entries: Sequence[LogEntry]) -> list[Folded | None]:
        """All of them in one transaction, with the position; None for one that holds no command. An entry
        that compares ends a transaction, and `on_compare` is called before what is behind it.

        Raises WireError for a command this program does not know, SQLAlchemyError when the database fails:
        then nothing of that transaction is kept.
        """
        done: list[Folded | None] = []
        while len(done) < len(entries):
            run = self._decode(entries[len(done) :])
            with self._connection.begin():
                outcomes = apply_group(self._connection, run.commands) if run.commands else []
                advance_to(self._connection, run.mark, run.time_ms)
            self._mark, self._time_ms = run.mark, run.time_ms
            told = map(Folded, run.commands, outcomes)
            done += [next(told) if entry.kind is EntryKind.COMMAND else None for entry in run.entries]
            if run.commands and isinstance(run.commands[-1].command, LogCompare):
                self.on_compare(run.mark.index)
        return done

    def _decode(self, entries: Sequence[LogEntry]) -> _Run:
        """Up to the first that compares, or all."""
        mark, time_ms = self._mark, self._time_ms
        commands: list[Entry] = []
        for count, entry in enumerate(entries, 1):
            assert entry.index == mark.index + 1, (entry.index, mark.index)
            configuration = mark.configuration
            if entry.kind is EntryKind.CONFIGURATION:
                configuration = decode_configuration(entry.data)
            elif entry.kind is EntryKind.COMMAND:
                commands.append(decode_command_entry(entry, not_before_ms=time_ms))
                time_ms = commands[-1].time_ms
            mark = SnapshotMark(entry.index, entry.term, configuration)
            if entry.kind is EntryKind.COMMAND and isinstance(commands[-1].command, LogCompare):
                return _Run(entries[:count], commands, mark, time_ms)
        return _Run(entries, commands, mark, time_ms)

    def fold_in_groups(self, entries: Sequence[LogEntry]) -> None:
        """As `fold`, of any number of them, for nobody who waits."""
        for start in range(0, len(entries), FOLD_ENTRIES_MAX):
            self.fold(entries[start : start + FOLD_ENTRIES_MAX])

    def checkpoint(self) -> bool:
        """Whether everything folded is durable now; a reader may hold it back."""
        return checkpoint(self._connection)

    def install(self, source: sqlite3.Connection, mark: SnapshotMark) -> None:
        """The rows of `source` instead of ours, or all of ours still when it fails; readers go on with the
        rows they began with.

        Raises SnapshotRefusedError: it is damaged, of another schema, or not what `mark` says.
        """
        check_copy(source, mark)
        source.backup(raw(self._connection))
        self._mark, self._time_ms = self._read_position()

    def _read_position(self) -> tuple[SnapshotMark, int]:
        with self._connection.begin():
            row = self._connection.execute(select(t.position)).one()
        return _mark_of(row.applied_index, row.applied_term, row.configuration), row.time_ms


def advance_to(connection: Connection, mark: SnapshotMark, time_ms: int) -> None:
    """The rows hold what `mark` says. In the transaction that made them so."""
    configuration = encode_known(mark.configuration)
    advance(connection, index=mark.index, term=mark.term, configuration=configuration, time_ms=time_ms)


def check_copy(source: sqlite3.Connection, mark: SnapshotMark) -> None:
    """Raises SnapshotRefusedError when `source` does not hold sound tables with this mark."""
    try:
        (verdict,) = source.execute("PRAGMA quick_check(1)").fetchone()
        row = source.execute(
            "SELECT applied_index, applied_term, configuration, schema_version FROM position"
        ).fetchone()
    except (sqlite3.Error, UnicodeDecodeError) as error:  # a verdict may quote what it found
        raise SnapshotRefusedError(f"the snapshot cannot be read: {error}") from error
    if verdict != "ok":
        raise SnapshotRefusedError(f"the snapshot is damaged: {str(verdict)[:200]}")
    if row is None or row[3] != SCHEMA_VERSION:
        raise SnapshotRefusedError(
            f"the snapshot has schema version {row and row[3]}, this program {SCHEMA_VERSION}"
        )
    try:
        found = _mark_of(*_position_of(*row[:3]))
    except WireError as error:
        raise SnapshotRefusedError(f"the snapshot's configuration is malformed: {error}") from error
    if found != mark:
        raise SnapshotRefusedError(
            f"the snapshot is of entry {found.index} of term {found.term}, and should be of {mark.index} "
            f"of term {mark.term}"
        )


def _position_of(index: object, term: object, configuration: object) -> tuple[int, int, bytes]:
    """SQLite keeps values of any type in any column. Raises WireError."""
    if isinstance(index, int) and isinstance(term, int) and isinstance(configuration, bytes):
        return index, term, configuration
    raise WireError("bad_field", "its position holds values of other types")


def mark_of_copy(source: sqlite3.Connection) -> SnapshotMark:
    """Raises sqlite3.Error."""
    row = source.execute("SELECT applied_index, applied_term, configuration FROM position").fetchone()
    return _mark_of(*row)


def _mark_of(index: int, term: int, configuration: bytes) -> SnapshotMark:
    return SnapshotMark(LogIndex(index), Term(term), decode_known(bytes(configuration)))
