"""Whether a voter's directory is sound: its log by checksums and hash chain, its rows by folding that anew.

Reads only. Folding from an empty database needs a log that starts at entry 1; from a backup, one that holds
what comes after it. Else only the positions can be compared.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from fabric.store.backup import opened_backup
from fabric.store.errors import HaltedError, LogCorruptError, SchemaVersionError, SnapshotRefusedError
from fabric.store.looked_at import Seen, look
from fabric.store.new_life import copy_tables
from fabric.store.program import PROGRAM
from fabric.store.row_shape import Shape, shapes
from fabric.store.schema import SCHEMA_VERSION
from fabric.store.sqlite import DATABASE, open_reader, opened_writer, raw
from fabric.store.voter_start import check_one_history
from fabric.store.voter_tables import VoterTables, shape_of_copy

REFOLDED = "refolded.sqlite"


@dataclass(frozen=True, slots=True)
class LogFinding:
    check: str
    what: str
    cure: str


@dataclass(frozen=True, slots=True)
class LogReport:
    findings: tuple[LogFinding, ...]
    entries: int  # in the log
    applied: int
    refolded_from: int | None  # None: only positions were compared


REBUILD = (
    "let this node start anew from the other voters (move its state directory away); where there are none, "
    "`fabric restore` a backup"
)
OTHER_PROGRAM = "look with the program that this node's agent runs"


def verify(state: Path, scratch: Path, backup: Path | None = None) -> LogReport:
    """`scratch`: an empty directory for copies. Raises OSError, sqlite3.Error, SQLAlchemyError;
    SnapshotRefusedError when the backup is no good."""
    try:
        seen = look(state)
    except LogCorruptError as error:
        return LogReport((LogFinding("log", str(error), REBUILD),), 0, 0, None)
    except SnapshotRefusedError as error:
        return LogReport((LogFinding("rows", str(error), REBUILD),), 0, 0, None)
    findings = [*_rows(state, seen)]
    entries = 0 if seen.log is None else len(seen.log.entries)
    if seen.log is None:
        findings.append(LogFinding("log", "there are rows and no log", REBUILD))
    if findings or seen.log is None:
        return LogReport(tuple(findings), entries, seen.applied.index, None)
    start, found = _refold(state, seen, scratch, backup)
    return LogReport(tuple(found), entries, seen.applied.index, start)


def _rows(state: Path, seen: Seen) -> list[LogFinding]:
    found: list[LogFinding] = []
    with closing(open_reader(state / DATABASE)) as rows:
        (verdict,) = rows.execute("PRAGMA quick_check(1)").fetchone()
        version, level = shape_of_copy(rows)
    if verdict != "ok":
        found.append(LogFinding("rows", f"the database is damaged: {str(verdict)[:200]}", REBUILD))
    if version != SCHEMA_VERSION:
        what = f"the rows have schema version {version}, this program {SCHEMA_VERSION}"
        found.append(LogFinding("schema", what, OTHER_PROGRAM))
    elif cannot := PROGRAM.cannot_run_at(level):
        found.append(LogFinding("level", f"the rows are at {cannot}", OTHER_PROGRAM))
    if seen.log is not None and seen.applied.index >= seen.log.mark.index:  # else a start puts a snapshot in
        try:
            check_one_history(seen.log, seen.applied)
        except LogCorruptError as error:
            found.append(LogFinding("history", str(error), REBUILD))
    return found


def _refold(
    state: Path, seen: Seen, scratch: Path, backup: Path | None
) -> tuple[int | None, list[LogFinding]]:
    assert seen.log is not None
    if backup is not None:
        with opened_backup(backup, scratch / "backup.sqlite") as (_, _, source):
            copy_tables(source, scratch, REFOLDED)
    try:
        with opened_writer(scratch / REFOLDED) as connection:
            folded = VoterTables(connection)
            if backup is None:
                if seen.log.mark.index > 0:
                    return None, []
                folded.found(seen.log.mark)
            start = folded.mark.index
            if not seen.log.mark.index <= start <= seen.applied.index:
                raise SnapshotRefusedError(
                    f"the backup is of entry {start}; the log holds those after {seen.log.mark.index}, the "
                    f"rows those up to {seen.applied.index}"
                )
            end = seen.applied.index - seen.log.mark.index
            folded.fold_in_groups(seen.log.entries[start - seen.log.mark.index : end])
            with closing(open_reader(state / DATABASE)) as rows:
                return start, _differences(raw(connection), rows)
    except (HaltedError, SchemaVersionError) as error:
        return None, [LogFinding("fold", str(error), OTHER_PROGRAM)]


def _differences(folded: sqlite3.Connection, rows: sqlite3.Connection) -> list[LogFinding]:
    found: list[LogFinding] = []
    wanted, here = list(shapes(folded)), list(shapes(rows))
    if wanted != here:
        odd = ", ".join(sorted({shape.table for shape in set(wanted) ^ set(here)}))
        return [LogFinding("fold", f"these tables have another shape than the log says: {odd}", REBUILD)]
    for shape in wanted:
        count, first = _compare(folded.execute(shape.query()), rows.execute(shape.query()), shape)
        if count:
            what = f"table {shape.table}: at least {count} rows differ from what the log says, first {first}"
            found.append(LogFinding("fold", what, REBUILD))
    return found


def _compare(wanted: sqlite3.Cursor, found: sqlite3.Cursor, shape: Shape) -> tuple[int, str]:
    """How many rows differ, place by place, and the key of the first. Keys only: rows hold secrets."""
    count, first = 0, ""
    while True:
        one, other = wanted.fetchone(), found.fetchone()
        if one is None and other is None:
            return count, first
        if one != other:
            count += 1
            key = shape.columns.index(shape.keys[0])
            first = first or repr((one or other)[key])[:80]
