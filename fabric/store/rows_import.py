"""Rows out of a file become a fabric again, in either engine: a new life of it, as after a disaster
(`new_life.py`), for whoever had the rows before may still be there.

They are put in, read back and hashed, and only then is any of it visible: by the rename that makes a
directory the state, or by the one transaction of a database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import sqlalchemy
from sqlalchemy import Connection, select, text, update
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from fabric.core.raft.configuration import Configuration
from fabric.core.raft.log import SnapshotMark
from fabric.store import tables as t
from fabric.store.errors import SchemaVersionError, SnapshotRefusedError, StoreStoppedError
from fabric.store.life_swap import STATE, begin_building, commit, settle
from fabric.store.new_life import NewLife, begin_new_life, next_numbers, raise_fences
from fabric.store.plain_rows import Row, carried_digest, carried_tables, column_names, put_rows
from fabric.store.postgres import SCHEMA_LOCK
from fabric.store.program import PROGRAM
from fabric.store.row_digest import LEFT_OUT
from fabric.store.rows_export import connected, known_level, plain
from fabric.store.rows_file import Header, RowsReader, TableBegins
from fabric.store.schema import FIRST_LEVEL, SCHEMA_VERSION, create_schema
from fabric.store.shared_incarnation import write_shared_incarnation
from fabric.store.sqlite import DATABASE, opened_writer
from fabric.store.tables.by_level import ADDED
from proto.ids import LogIndex, NodeId, Term

BATCH_ROWS = 500
BATCH_BYTES = 4 << 20  # of text and bytes, about


@dataclass(frozen=True, slots=True)
class SharedLife:
    """Of a fabric in a database."""

    incarnation: int
    index: LogIndex


def import_into_voter(
    source: IO[bytes],
    node_directory: Path,
    node_id: NodeId,
    *,
    now_ms: int,
    accept: Callable[[Header], None] = lambda header: None,
    equip: Callable[[], None] = lambda: None,
) -> tuple[NewLife, Header]:
    """The rows in `source` are the state of a voter that is its whole group. The node's lock is held.
    `accept` is asked first, and may raise; `equip` is called when all is built, before it is the state.

    Raises SnapshotRefusedError: the file is none or damaged, or there is a state already; SchemaVersionError,
    OSError, sqlite3.Error, SQLAlchemyError, LogFailedError. Nothing is changed then.
    """
    settle(node_directory)
    state = node_directory / STATE
    if state.exists():
        raise SnapshotRefusedError(f"there are rows on this node already, in {state}: move it away first")
    reader = _opened(source, accept)
    building = begin_building(node_directory)
    with opened_writer(building / DATABASE) as connection:
        with connection.begin():
            _put_all(connection, reader)
        header = reader.header
        life = begin_new_life(
            connection,
            building,
            node_id,
            after=SnapshotMark(LogIndex(header.index), Term(header.term), Configuration()),
            last_term=Term(header.term),
            old_incarnation=header.incarnation,
            time_ms=header.entry_ms,
            now_ms=now_ms,
        )
    equip()
    commit(node_directory)
    return life, header


def import_into_database(
    source: IO[bytes],
    url: str,
    *,
    now_ms: int,
    accept: Callable[[Header], None] = lambda header: None,
    equip: Callable[[], None] = lambda: None,
) -> tuple[SharedLife, Header]:
    """As above, into a database that is empty, in one transaction.

    Raises SnapshotRefusedError, SchemaVersionError, StoreStoppedError, OSError; nothing is changed then. A
    connection that is lost at the very end is a StoreStoppedError too: a second try tells what became of it.
    """
    reader = _opened(source, accept)
    with connected(url) as connection, _plain_errors():
        with connection.begin():
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": SCHEMA_LOCK})
            _need_empty(connection)
            _put_all(connection, reader)
            header = reader.header
            incarnation, index = next_numbers(header.incarnation, header.index, now_ms)
            raise_fences(connection, index)
            write_shared_incarnation(connection, incarnation)
            values = {"applied_index": index, "applied_term": 0, "configuration": b""}
            connection.execute(update(t.position).values(**values))
            equip()
        return SharedLife(incarnation, index), header


def _opened(source: IO[bytes], accept: Callable[[Header], None]) -> RowsReader:
    reader = RowsReader(source)
    version = reader.header.position.get("schema_version")
    if version != SCHEMA_VERSION:
        raise SchemaVersionError(
            f"the rows in the file have schema version {version!r}, this program needs {SCHEMA_VERSION}"
        )
    known_level(reader.header.position.get("level"))
    accept(reader.header)
    return reader


def _put_all(connection: Connection, reader: RowsReader) -> None:
    """All rows in tables of their level, and what the position says beside. In one transaction. Raises
    SnapshotRefusedError, RevisionFailedError, SQLAlchemyError."""
    level = known_level(reader.header.position.get("level"))
    create_schema(connection)
    for to in range(FIRST_LEVEL + 1, level + 1):
        if to in PROGRAM.revisions:
            PROGRAM.revisions[to].run(connection)
    known = {each.name: each for each in carried_tables(level)}
    into: sqlalchemy.Table | None = None
    missing = dict(known)
    for item in _batches(reader.content()):
        if isinstance(item, TableBegins):
            into = missing.pop(item.name, None)
            if into is None or list(item.columns) != column_names(into):
                raise SnapshotRefusedError(f"the file's table {item.name!r} is not one of this program's")
        elif into is None:
            raise SnapshotRefusedError("the file has rows of no table")
        elif any(len(row) != len(into.columns) for row in item):
            raise SnapshotRefusedError(f"a row of {into.name} has too few values, or too many")
        else:
            _put(connection, into, item)
    if missing:
        raise SnapshotRefusedError(f"the file lacks tables: {', '.join(sorted(missing))}")
    if carried_digest(connection, level) != reader.sum.digest:
        raise SnapshotRefusedError("the rows, read back, are not those in the file")
    said = {
        c.name: reader.header.position[c.name]
        for c in t.position.columns
        if ("position", c.name) not in LEFT_OUT
    }
    connection.execute(update(t.position).values(**said))


def _put(connection: Connection, into: sqlalchemy.Table, rows: Sequence[Row]) -> None:
    try:
        put_rows(connection, into, rows)
    except (IntegrityError, DataError) as error:
        raise SnapshotRefusedError(f"{into.name} does not take a row of the file: {plain(error)}") from error


def _batches(items: Iterable[TableBegins | Row]) -> Iterator[TableBegins | Sequence[Row]]:
    gathered: list[Row] = []
    size = 0
    for item in items:
        if not isinstance(item, TableBegins):
            gathered.append(item)
            size += sum(len(value) for value in item if isinstance(value, str | bytes))
            if len(gathered) < BATCH_ROWS and size < BATCH_BYTES:
                continue
        if gathered:
            yield gathered
            gathered, size = [], 0
        if isinstance(item, TableBegins):
            yield item
    if gathered:
        yield gathered


def _need_empty(connection: Connection) -> None:
    """Tables that an agent has made and nothing was written in are dropped. Raises SnapshotRefusedError."""
    found = set(sqlalchemy.inspect(connection).get_table_names())
    if not found:
        return
    ours = (t.metadata, t.shared_metadata, *ADDED.values())
    if t.position.name in found and t.fabric.name in found:
        fabric = connection.execute(select(t.fabric.c.fabric_id)).first()
        if fabric is not None:
            raise SnapshotRefusedError(f"that database holds fabric {fabric.fabric_id} already")
        if connection.execute(select(t.position.c.applied_index)).scalar_one() == 0:
            for each in ours:
                each.drop_all(connection)
                found -= each.tables.keys()
    if found:
        names = ", ".join(sorted(found)[:5])
        raise SnapshotRefusedError(
            f"that database is not empty: it has {names}; a fabric needs one of its own"
        )


@contextmanager
def _plain_errors() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        raise StoreStoppedError(f"the database refused: {plain(error)}") from error
