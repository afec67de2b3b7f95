"""Rows as plain values that are the same on both engines: whole numbers, text, bytes, None.

What is carried from one engine to another is every table but the position, which each life has of its own,
and the number of that life, which the shared engine keeps among its rows (`shared_incarnation.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection, Table, TableClause, Text, column, insert, select, table

from fabric.store import tables as t
from fabric.store.row_digest import RowDigest
from fabric.store.shared_incarnation import INCARNATION
from fabric.store.tables.base import JsonText
from fabric.store.tables.by_level import ADDED
from proto.codec import Plain

FETCH_ROWS = 500

Row = list[Plain]


def carried_tables(level: int) -> tuple[Table, ...]:
    """Of rows at that level, in the order in which they are written and hashed: by name."""
    found = [each for each in t.metadata.sorted_tables if each is not t.position]
    for since, metadata in ADDED.items():
        if level >= since:
            found += metadata.sorted_tables
    return tuple(sorted(found, key=lambda each: each.name))


def column_names(of: Table) -> list[str]:
    return [each.name for each in of.columns]


def rows_of(connection: Connection, of: Table) -> Iterator[Row]:
    """By key, a few hundred at once in memory. Raises SQLAlchemyError."""
    bare = _bare(of)
    query = select(*bare.columns).order_by(*(bare.columns[key.name] for key in of.primary_key.columns))
    if of is t.counters:
        query = query.where(bare.columns["name"] != INCARNATION)
    for row in connection.execute(query, execution_options={"yield_per": FETCH_ROWS}):
        yield [_plain(value) for value in row]


def put_rows(connection: Connection, into: Table, rows: Sequence[Row]) -> None:
    """Raises SQLAlchemyError."""
    names = column_names(into)
    connection.execute(insert(_bare(into)), [dict(zip(names, row, strict=True)) for row in rows])


def carried_digest(connection: Connection, level: int) -> bytes:
    """Of all that is carried. Raises SQLAlchemyError."""
    digest = RowDigest()
    for each in carried_tables(level):
        digest.begin(each.name)
        for row in rows_of(connection, each):
            digest.add(row)
    return digest.digest()


def _bare(of: Table) -> TableClause:
    """Without what turns JSON's text into values and back: it is carried as it is."""
    columns = (column(c.name, Text() if isinstance(c.type, JsonText) else c.type) for c in of.columns)
    return table(of.name, *columns)


def _plain(value: object) -> Plain:
    if isinstance(value, bool):  # SQLite has none
        return int(value)
    assert value is None or isinstance(value, int | str | bytes), type(value)
    return value
