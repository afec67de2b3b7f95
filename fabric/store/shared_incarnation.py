"""Which life of the fabric a shared database holds. Voters have it in a file beside their rows
(`incarnation.py`); a database has nothing beside its rows, so it is one of them, which no command sees.

It is there only where rows were brought from elsewhere: a fabric that began in a database is in its first
life.
"""

from __future__ import annotations

from sqlalchemy import Connection, insert, select

from fabric.store import tables as t

INCARNATION = "incarnation"  # in `counters`
NONE = 0


def read_shared_incarnation(connection: Connection) -> int:
    query = select(t.counters.c.value).where(t.counters.c.name == INCARNATION)
    return connection.execute(query).scalar_one_or_none() or NONE


def write_shared_incarnation(connection: Connection, incarnation: int) -> None:
    connection.execute(insert(t.counters).values(name=INCARNATION, value=incarnation))
