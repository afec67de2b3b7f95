"""The tables as they are in a database, whatever this program knows of them: what compares rows of voters
with different programs must not leave out what one of them does not know."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shape:
    """Of one table. `keys` is its primary key, in that order."""

    table: str
    columns: tuple[str, ...]
    keys: tuple[str, ...]

    def query(self, left_out: frozenset[tuple[str, str]] = frozenset()) -> str:
        """All rows in the order of their keys, without the columns `left_out` as (table, column)."""
        columns = [f'"{each}"' for each in self.columns if (self.table, each) not in left_out]
        keys = ", ".join(f'"{each}"' for each in self.keys)
        return f'SELECT {", ".join(columns)} FROM "{self.table}" ORDER BY {keys}'  # noqa: S608  # our own names


def shapes(connection: sqlite3.Connection) -> Iterator[Shape]:
    """Of all tables, by name; columns by name, for tables that were made and those that were altered have
    them in different orders. Raises sqlite3.Error."""
    named = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
    for (table,) in connection.execute(named).fetchall():
        found = connection.execute(
            "SELECT name, pk FROM pragma_table_info(?) ORDER BY name", (table,)
        ).fetchall()
        keys = sorted((place, name) for name, place in found if place)
        yield Shape(table, tuple(name for name, _ in found), tuple(name for _, name in keys))
