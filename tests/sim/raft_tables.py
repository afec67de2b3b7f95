"""The tables of a simulated voter: real SQLite and real handlers in memory, with the states that a power loss
may leave of a database whose commits are not flushed one by one.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import cache
from random import Random
from typing import Any

import sqlalchemy
from sqlalchemy import Connection
from sqlalchemy.pool import StaticPool

from fabric.core.raft.log import SnapshotMark
from fabric.store.program import Program
from fabric.store.row_shape import shapes
from fabric.store.schema import create_schema
from fabric.store.sqlite import begin_with, raw
from fabric.store.voter_tables import VoterTables, mark_of_copy
from tests.fixtures.next_program import BASELINE

SQLITE_STEPS = 10  # of SQLite's machine are one of ours
KEPT = 0.2  # of the states between two checkpoints, that a crash may bring back
_COMPILED: dict[Any, Any] = {}  # statements, for all engines: one is made for each life of a voter


class SimTables:
    """`open` at each start, `crash` at each end."""

    def __init__(self) -> None:
        self._images: list[bytes] = []  # the last checkpoint first
        self._connection: Connection | None = None
        self.opened: VoterTables | None = None

    def open(self, program: Program = BASELINE) -> VoterTables:
        image = self._images[-1] if self._images else empty_image()
        self._images = self._images or [image]
        self._connection = _connect(image)
        self.opened = VoterTables(self._connection, program)
        return self.opened

    def image(self) -> bytes:
        """A whole copy, as one voter sends it to another and as a crash may leave it."""
        assert self._connection is not None
        return raw(self._connection).serialize()

    def note(self, rng: Random) -> None:
        """Something was folded."""
        if rng.random() < KEPT:
            self._images.append(self.image())

    def checkpoint(self) -> None:
        self._images = [self.image()]

    def crash(self, rng: Random) -> None:
        """Some of what was not checkpointed is gone."""
        if self._connection is None:
            return
        self._images.append(self.image())
        self._images = [rng.choice(self._images)]
        self.close()

    def process_ends(self) -> None:
        """What was committed is there, though a power loss may still take it back."""
        if self._connection is None:
            return
        driver = raw(self._connection)
        driver.set_progress_handler(None, 0)
        if driver.in_transaction:
            driver.rollback()
        self._images.append(self.image())
        self.close()

    def fail_after(self, steps: int | None) -> None:
        """SQLite fails in the middle of what it does, after so many steps. None: it goes on well."""
        assert self._connection is not None
        driver = raw(self._connection)
        if steps is None:
            driver.set_progress_handler(None, 0)
        else:
            left = iter(range(steps))
            driver.set_progress_handler(lambda: next(left, None) is None, SQLITE_STEPS)

    def durable_image(self) -> bytes:
        """Of who is not running."""
        assert self._connection is None
        return self._images[-1]

    def put_back(self, image: bytes) -> None:
        assert self._connection is None
        self._images = [image]

    def close(self) -> None:
        if self._connection is not None:
            engine = self._connection.engine
            self._connection.close()
            engine.dispose()
        self._connection = self.opened = None

    def projects(self) -> dict[str, str]:
        """Name -> id."""
        assert self._connection is not None
        found = raw(self._connection).execute("SELECT name, project_id FROM projects")
        return dict(found.fetchall())

    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        assert self._connection is not None
        driver = raw(self._connection)
        return {shape.table: driver.execute(shape.query()).fetchall() for shape in shapes(driver)}

    def of(self, table: str, *columns: str) -> list[tuple[Any, ...]]:
        """All rows of it, sorted."""
        assert self._connection is not None
        query = f"SELECT {', '.join(columns)} FROM {table} ORDER BY 1"
        return raw(self._connection).execute(query).fetchall()


def opened_image(image: bytes) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.deserialize(image)
    return connection


def mark_of(image: bytes) -> SnapshotMark:
    with closing(opened_image(image)) as connection:
        return mark_of_copy(connection)


@cache
def empty_image() -> bytes:
    """Making all tables takes longer than a voter lives."""
    connection = sqlalchemy.create_engine("sqlite://").connect()
    with connection.begin():
        create_schema(connection)
    return raw(connection).serialize()


def _connect(image: bytes) -> Connection:
    driver = opened_image(image)
    engine = sqlalchemy.create_engine("sqlite://", creator=lambda: driver, poolclass=StaticPool)
    begin_with(engine, "BEGIN IMMEDIATE")
    return engine.connect().execution_options(compiled_cache=_COMPILED)
