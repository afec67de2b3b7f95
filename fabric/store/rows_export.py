"""A consistent copy of all rows of a fabric, out of either engine, into a file of none (`rows_file.py`)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import sqlalchemy
from sqlalchemy import Connection, select
from sqlalchemy.exc import SQLAlchemyError

from fabric import __version__
from fabric.store import tables as t
from fabric.store.errors import SchemaVersionError, SnapshotRefusedError, StoreStoppedError
from fabric.store.incarnation import read_incarnation
from fabric.store.life_swap import STATE, settle
from fabric.store.plain_rows import Row, carried_tables, column_names, rows_of
from fabric.store.program import PROGRAM
from fabric.store.recover import all_it_has
from fabric.store.row_digest import LEFT_OUT
from fabric.store.rows_file import FORM, Header, Sum, TableBegins, write_rows
from fabric.store.shared_incarnation import read_shared_incarnation
from fabric.store.sqlite import DATABASE, open_readers
from proto.ids import FabricId

GATHERED = "export.tmp"  # below the node's directory, while a stopped voter is exported
CONNECT_TIMEOUT_S = 10

Exported = tuple[Header, Sum]


def export_rows(connection: Connection, out: IO[bytes], *, incarnation: int, now_ms: int) -> Exported:
    """All rows as the transaction of `connection` sees them. Raises SnapshotRefusedError: there is no fabric
    in them; SchemaVersionError: their level is beyond this program; SQLAlchemyError, OSError."""
    fabric = connection.execute(select(t.fabric.c.fabric_id)).first()
    if fabric is None:
        raise SnapshotRefusedError("these rows hold no fabric yet")
    position = connection.execute(select(t.position)).mappings().one()
    level = known_level(position["level"])
    header = Header(
        form=FORM,
        fabric_id=FabricId(fabric.fabric_id),
        incarnation=incarnation,
        position={
            c.name: position[c.name] for c in t.position.columns if ("position", c.name) not in LEFT_OUT
        },
        engine=connection.dialect.name,
        made_ms=now_ms,
        software=__version__,
    )
    return header, write_rows(out, header, _content(connection, level))


def known_level(level: object) -> int:
    """Raises SchemaVersionError: this program does not know all that rows of that level hold."""
    if not isinstance(level, int) or PROGRAM.cannot_run_at(level):
        raise SchemaVersionError(f"the rows are at level {level!r}, which this version cannot move")
    return level


def _content(connection: Connection, level: int) -> Iterator[TableBegins | Row]:
    for each in carried_tables(level):
        yield TableBegins(each.name, tuple(column_names(each)))
        yield from rows_of(connection, each)


def export_voter(state: Path, out: IO[bytes], *, now_ms: int) -> Exported:
    """Of a voter that runs, beside its writer. Raises as `export_rows`."""
    engine = open_readers(state / DATABASE, 1)
    try:
        with engine.connect() as connection, connection.begin():
            return export_rows(connection, out, incarnation=read_incarnation(state), now_ms=now_ms)
    finally:
        engine.dispose()


def export_stopped_voter(node_directory: Path, out: IO[bytes], *, now_ms: int) -> Exported:
    """With all that its log has, of which its rows may lack the last: as `recover_survivor` would keep it.
    The node's lock is held. Raises as that and as `export_rows`."""
    settle(node_directory)
    state, scratch = node_directory / STATE, node_directory / GATHERED

    def build() -> Path:
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(mode=0o700)
        return scratch

    try:
        with all_it_has(state, build) as found, found.connection.begin():
            return export_rows(found.connection, out, incarnation=read_incarnation(state), now_ms=now_ms)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def export_database(url: str, out: IO[bytes], *, now_ms: int) -> Exported:
    """Of a shared engine's database, whoever else uses it. Raises as `export_rows`, StoreStoppedError."""
    with connected(url, isolation_level="REPEATABLE READ", postgresql_readonly=True) as connection:
        try:
            with connection.begin():
                if not sqlalchemy.inspect(connection).has_table(t.position.name):
                    raise SnapshotRefusedError("that database holds no fabric")
                incarnation = read_shared_incarnation(connection)
                return export_rows(connection, out, incarnation=incarnation, now_ms=now_ms)
        except SQLAlchemyError as error:
            raise StoreStoppedError(f"the database did not answer: {plain(error)}") from error


@contextmanager
def connected(url: str, **options: object) -> Iterator[Connection]:
    """Raises StoreStoppedError: it cannot be reached, or not so."""
    try:
        engine = sqlalchemy.create_engine(
            url, hide_parameters=True, connect_args={"connect_timeout": CONNECT_TIMEOUT_S}
        )
    except (SQLAlchemyError, ImportError) as error:
        raise StoreStoppedError(f"that is no URL of a database: {type(error).__name__}") from error
    try:
        try:
            connection = engine.connect()
        except SQLAlchemyError as error:
            raise StoreStoppedError(f"the database cannot be used: {plain(error)}") from error
        with connection:
            connection.execution_options(**options)
            yield connection
    finally:
        engine.dispose()


def plain(error: SQLAlchemyError) -> str:
    """The first line of it: no statement and no parameters, which may hold secrets."""
    return str(getattr(error, "orig", None) or type(error).__name__).splitlines()[0][:200]
