"""One voter's tables: committed entries folded into SQLite, and whole copies of them for who is behind.

The position (index, term, configuration) is written in the same transaction as what the entries did, so rows
and position never part (etcd 3.5.0 to 3.5.5 lost that, and replicas differed). SQLite runs with
synchronous=NORMAL: after a power loss the rows may be behind the log, never ahead of it. Owned by one thread
at a time.

What this program cannot apply it never skips: rows that lack one entry are no longer the log's. It halts in
front of that entry, with everything before it folded, and a program that can goes on from there.
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
from fabric.store.errors import HaltedError, SchemaVersionError, SnapshotRefusedError
from fabric.store.program import PROGRAM, Program
from fabric.store.schema import FIRST_LEVEL, SCHEMA_VERSION, create_schema
from fabric.store.sqlite import checkpoint, raw
from proto.commands.log import LevelRaise, LogCompare
from proto.errors import WireError
from proto.ids import LogIndex, Term
from proto.raft import EntryKind, LogEntry

WITH_MARK, WITH_LEVELS = 4, 6  # schema versions from which on the position has them


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
    def __init__(self, connection: Connection, program: Program = PROGRAM) -> None:
        """Makes tables where there are none. Raises SchemaVersionError (also for rows at a level that is not
        `program`'s), SQLAlchemyError."""
        self._connection = connection
        self._program = program
        self.halt: HaltedError | None = None  # why nothing more is folded
        self._mark: SnapshotMark
        self._time_ms: int
        self._level: int
        self.on_compare: Callable[[LogIndex], None] = lambda index: None  # on the thread that folds
        with connection.begin():
            create_schema(connection)
        self._read_position()
        cannot = program.cannot_run_at(self._level)
        if cannot:
            raise SchemaVersionError(f"the rows are at {cannot}")

    @property
    def level(self) -> int:
        """Of the group, as these rows know it."""
        return self._level

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
        that compares ends a transaction, and `on_compare` is called before what is behind it; one that raises
        the level is a transaction of its own. Gives fewer than there are when it halts, and `halt` says why.

        Raises SQLAlchemyError when the database fails, RevisionFailedError: then nothing of that transaction
        is kept.
        """
        done: list[Folded | None] = []
        while len(done) < len(entries) and self.halt is None:
            run = self._decode(entries[len(done) :])
            if not run.entries:
                break
            with self._connection.begin():
                outcomes = (
                    apply_group(self._connection, run.commands, self._program.handlers, level=self._level)
                    if run.commands
                    else []
                )
                advance_to(self._connection, run.mark, run.time_ms)
            self._mark, self._time_ms = run.mark, run.time_ms
            told = map(Folded, run.commands, outcomes)
            done += [next(told) if entry.kind is EntryKind.COMMAND else None for entry in run.entries]
            last = run.commands[-1].command if run.commands else None
            if isinstance(last, LogCompare):
                self.on_compare(run.mark.index)
            elif isinstance(last, LevelRaise):
                self._read_position()
        return done

    def _decode(self, entries: Sequence[LogEntry]) -> _Run:
        """Up to the first that compares, or in front of the first that raises the level or cannot be applied,
        or all. None when the very first cannot be applied: `halt` is set then."""
        mark, time_ms = self._mark, self._time_ms
        commands: list[Entry] = []
        for count, entry in enumerate(entries, 1):
            assert entry.index == mark.index + 1, (entry.index, mark.index)
            command: Entry | None = None
            if entry.kind is EntryKind.COMMAND:
                try:
                    command = self._known(entry, time_ms)
                except HaltedError as error:
                    if count == 1:
                        self.halt = error
                    return _Run(entries[: count - 1], commands, mark, time_ms)
                if isinstance(command.command, LevelRaise) and count > 1:
                    return _Run(entries[: count - 1], commands, mark, time_ms)
            configuration = mark.configuration
            if entry.kind is EntryKind.CONFIGURATION:
                configuration = decode_configuration(entry.data)
            elif command is not None:
                commands.append(command)
                time_ms = command.time_ms
            mark = SnapshotMark(entry.index, entry.term, configuration)
            if command is not None and isinstance(command.command, LogCompare | LevelRaise):
                return _Run(entries[:count], commands, mark, time_ms)
        return _Run(entries, commands, mark, time_ms)

    def _known(self, entry: LogEntry, not_before_ms: int) -> Entry:
        """Raises HaltedError."""
        try:
            found = decode_command_entry(entry, not_before_ms=not_before_ms, kinds=self._program.kinds)
        except WireError as error:  # committed and whole, by its checksum: another program wrote it
            raise HaltedError(
                f"this program cannot apply entry {entry.index} of the log ({error})"
            ) from error
        cannot = self._program.cannot(found.command, self._level)
        if cannot:
            raise HaltedError(f"this program cannot apply entry {entry.index} of the log: {cannot}")
        return found

    def fold_in_groups(self, entries: Sequence[LogEntry]) -> None:
        """As `fold`, of any number of them, for nobody who waits. Raises HaltedError where that halts."""
        for start in range(0, len(entries), FOLD_ENTRIES_MAX):
            self.fold(entries[start : start + FOLD_ENTRIES_MAX])
            if self.halt is not None:
                raise self.halt

    def checkpoint(self) -> bool:
        """Whether everything folded is durable now; a reader may hold it back."""
        return checkpoint(self._connection)

    def install(self, source: sqlite3.Connection, mark: SnapshotMark) -> None:
        """The rows of `source` instead of ours, or all of ours still when it fails; readers go on with the
        rows they began with.

        Raises SnapshotRefusedError: it is damaged, of another schema, or not what `mark` says. HaltedError:
        of a level that this program cannot apply.
        """
        check_copy(source, mark, self._program)
        source.backup(raw(self._connection))
        with self._connection.begin():
            create_schema(self._connection)  # it may be from before the baseline
        self._read_position()

    def _read_position(self) -> None:
        with self._connection.begin():
            row = self._connection.execute(select(t.position)).one()
        self._mark = _mark_of(row.applied_index, row.applied_term, row.configuration)
        self._time_ms, self._level = int(row.time_ms), int(row.level)


def advance_to(connection: Connection, mark: SnapshotMark, time_ms: int) -> None:
    """The rows hold what `mark` says. In the transaction that made them so."""
    configuration = encode_known(mark.configuration)
    advance(connection, index=mark.index, term=mark.term, configuration=configuration, time_ms=time_ms)


def check_copy(source: sqlite3.Connection, mark: SnapshotMark, program: Program = PROGRAM) -> None:
    """Raises SnapshotRefusedError when `source` does not hold sound tables with this mark, HaltedError when
    they are at a level that `program` cannot apply."""
    try:
        (verdict,) = source.execute("PRAGMA quick_check(1)").fetchone()
        version, level = shape_of_copy(source)
        row = source.execute("SELECT applied_index, applied_term, configuration FROM position").fetchone()
    except (sqlite3.Error, UnicodeDecodeError, WireError) as error:  # a verdict may quote what it found
        raise SnapshotRefusedError(f"the snapshot cannot be read: {error}") from error
    if verdict != "ok":
        raise SnapshotRefusedError(f"the snapshot is damaged: {str(verdict)[:200]}")
    if not WITH_MARK <= version <= SCHEMA_VERSION:
        raise SnapshotRefusedError(
            f"the snapshot has schema version {version}, this program {SCHEMA_VERSION}"
        )
    cannot = program.cannot_run_at(level)
    if cannot:
        raise HaltedError(f"the group's snapshot is at {cannot}")
    try:
        found = _mark_of(*_position_of(*row))
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


def shape_of_copy(source: sqlite3.Connection) -> tuple[int, int]:
    """Schema version and level. Raises sqlite3.Error, WireError."""
    row = source.execute("SELECT schema_version FROM position").fetchone()
    version = 0 if row is None else row[0]
    level = FIRST_LEVEL
    if isinstance(version, int) and version >= WITH_LEVELS:
        (level,) = source.execute("SELECT level FROM position").fetchone()
    if not isinstance(version, int) or not isinstance(level, int):
        raise WireError("bad_field", "its position holds values of other types")
    return version, level


def mark_of_copy(source: sqlite3.Connection) -> SnapshotMark:
    """Raises sqlite3.Error."""
    row = source.execute("SELECT applied_index, applied_term, configuration FROM position").fetchone()
    return _mark_of(*row)


def _mark_of(index: int, term: int, configuration: bytes) -> SnapshotMark:
    return SnapshotMark(LogIndex(index), Term(term), decode_known(bytes(configuration)))
