"""SQLite as the engine needs it: WAL, one writer connection, read-only snapshots beside it."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy
from sqlalchemy import Connection, Engine, event
from sqlalchemy.pool import NullPool, QueuePool

log = logging.getLogger(__name__)

DATABASE = "state.sqlite"  # in a voter's directory
BUSY_TIMEOUT_MS = 5_000
CACHE_KIB = 64 * 1_024


def open_writer(path: Path) -> Connection:
    """The connection that writes, made where there is no file yet (0600). Used by one thread at a time."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    engine = _engine(path, "rw", pool_size=None)
    begin_with(engine, "BEGIN IMMEDIATE")

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise sqlite3.OperationalError(f"{path} cannot use a write-ahead log (mode {mode})")
        for pragma in (
            "synchronous = NORMAL",  # the log is the durable truth: see voter_tables.py
            f"cache_size = -{CACHE_KIB}",
            "temp_store = MEMORY",
            "wal_autocheckpoint = 4000",
        ):
            connection.execute(f"PRAGMA {pragma}")

    return engine.connect()


@contextmanager
def opened_writer(path: Path) -> Iterator[Connection]:
    """`open_writer`, closed at the end. Raises as it does."""
    connection = open_writer(path)
    try:
        yield connection
    finally:
        connection.close()
        connection.engine.dispose()


def copy_database(source: sqlite3.Connection, to: Path) -> None:
    """All of it as it is now, in one read. Raises sqlite3.Error."""
    with closing(sqlite3.connect(to)) as target:
        source.backup(target)


def open_readers(path: Path, count: int) -> Engine:
    """Read-only connections for `count` threads; each transaction sees one snapshot."""
    engine = _engine(path, "ro", pool_size=count)
    begin_with(engine, "BEGIN")
    return engine


def open_reader(path: Path) -> sqlite3.Connection:
    """A read-only connection of its own, without SQLAlchemy; for one thread at a time. Whoever has it says
    BEGIN. Raises sqlite3.Error."""
    uri = f"file:{quote(str(path))}?mode=ro"
    return sqlite3.connect(
        uri, uri=True, check_same_thread=False, isolation_level=None, timeout=BUSY_TIMEOUT_MS / 1_000
    )


def raw(connection: Connection) -> sqlite3.Connection:
    """The driver's own connection, for what is no SQL. SQLAlchemy begins no transaction for it."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver


def checkpoint(connection: Connection) -> bool:
    """Moves the WAL into the database file and fsyncs it. False: something held it back, so the file may
    lack what the WAL has. Outside a transaction only."""
    assert not connection.in_transaction()
    try:
        busy, frames, moved = raw(connection).execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    except sqlite3.OperationalError as error:
        log.warning("checkpoint failed", extra={"error": str(error)})
        return False
    return not busy and frames == moved


def _engine(path: Path, mode: str, *, pool_size: int | None) -> Engine:
    uri = f"file:{quote(str(path))}?mode={mode}&uri=true"
    arguments = {
        "check_same_thread": False,
        "timeout": BUSY_TIMEOUT_MS // 1_000,
        "cached_statements": 512,
        # We say BEGIN ourselves: the driver's own rules would split reads over several snapshots.
        "isolation_level": None,
    }
    url = f"sqlite+pysqlite:///{uri}"
    if pool_size is None:
        return sqlalchemy.create_engine(url, connect_args=arguments, poolclass=NullPool, hide_parameters=True)
    return sqlalchemy.create_engine(
        url,
        connect_args=arguments,
        poolclass=QueuePool,
        pool_size=pool_size,
        max_overflow=0,
        hide_parameters=True,  # errors reach the log, and parameters hold hashes, keys and user data
    )


def begin_with(engine: Engine, statement: str) -> None:
    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(statement)
