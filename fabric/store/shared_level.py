"""The level of a shared database: made at the newest, raised by whoever conducts, refused by who cannot
follow.

The same entry that raises an embedded group's level (`LevelRaise`) does it here, once for everybody: its
revision is part of its transaction, and it holds the row of the position as every command does, so nobody
else writes meanwhile. Tables are made, and brought up to the baseline, by one process at a time under a lock
of PostgreSQL's own, which the caller holds.
"""

from __future__ import annotations

from sqlalchemy import Connection, inspect, select, update

from fabric.store import tables as t
from fabric.store.errors import SchemaVersionError
from fabric.store.program import Program
from fabric.store.schema import create_schema


def open_tables(connection: Connection, program: Program) -> int:
    """Makes the tables where there are none, at the newest level: there is no log that somebody might fold
    from its beginning. Gives the level. Raises SchemaVersionError: not for `program`; RevisionFailedError."""
    is_new = not inspect(connection).has_table(t.position.name)
    create_schema(connection)
    level = int(connection.execute(select(t.position.c.level)).scalar_one())
    if is_new:
        for to in range(level + 1, program.levels.highest + 1):
            if to in program.revisions:
                program.revisions[to].run(connection)
        level = program.levels.highest
        connection.execute(update(t.position).values(level=level))
    cannot = program.cannot_run_at(level)
    if cannot:
        raise SchemaVersionError(f"the database is at {cannot}")
    return level
