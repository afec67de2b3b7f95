"""Whether the rows are at the level that a table came with."""

from __future__ import annotations

from sqlalchemy import Connection, select

from fabric.core.voters.levels import GetLevel
from fabric.store import tables as t
from fabric.store.query.registry import answers

_LEVEL = select(t.position.c.level)


def level_of(connection: Connection) -> int:
    """Raises SQLAlchemyError."""
    return int(connection.execute(_LEVEL).scalar_one())


def is_at(connection: Connection, level: int) -> bool:
    """False: its tables are not there yet, and so nothing is in them. Raises SQLAlchemyError."""
    return level_of(connection) >= level


@answers(GetLevel)
def get_level(connection: Connection, query: GetLevel) -> int:
    return level_of(connection)
