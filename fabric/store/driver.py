"""SQL text and values to the database's driver, inside the transaction that a connection has begun.

For SQLite this is the driver's own cursor. Any other goes through SQLAlchemy, which knows when a connection
is lost; a round trip costs more than that.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Protocol

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from fabric.store.prepared import Values
from fabric.store.sqlite import raw


class Driver(Protocol):
    """All raise what `Connection.execute` would."""

    def fetch(self, sql: str, values: Values) -> list[Any]:
        """All rows."""
        ...

    def run(self, sql: str, values: Values) -> int:
        """How many rows it touched."""
        ...

    def run_many(self, sql: str, values: Sequence[Values]) -> int: ...


def driver_of(connection: Connection) -> Driver:
    return SqliteDriver(raw(connection)) if connection.dialect.name == "sqlite" else OtherDriver(connection)


class SqliteDriver:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._cursor = connection.cursor()

    def fetch(self, sql: str, values: Values) -> list[Any]:
        try:
            return self._cursor.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise _told(sql, error) from error

    def run(self, sql: str, values: Values) -> int:
        try:
            return self._cursor.execute(sql, values).rowcount
        except sqlite3.Error as error:
            raise _told(sql, error) from error

    def run_many(self, sql: str, values: Sequence[Values]) -> int:
        try:
            return self._cursor.executemany(sql, values).rowcount
        except sqlite3.Error as error:
            raise _told(sql, error) from error


def _told(sql: str, error: sqlite3.Error) -> BaseException:
    """SQLAlchemy's class for it. Without the parameters, which hold hashes, keys and user data."""
    return DBAPIError.instance(sql, None, error, sqlite3.Error, hide_parameters=True)


class OtherDriver:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def fetch(self, sql: str, values: Values) -> list[Any]:
        return list(self._connection.exec_driver_sql(sql, _given(values)))

    def run(self, sql: str, values: Values) -> int:
        return self._connection.exec_driver_sql(sql, _given(values)).rowcount

    def run_many(self, sql: str, values: Sequence[Values]) -> int:
        return self._connection.exec_driver_sql(sql, [_given(one) for one in values]).rowcount


def _given(values: Values) -> Any:
    return tuple(values) if isinstance(values, list) else values  # a list would mean many
