"""Making the tables, bringing older ones up to date, and refusing tables of another version."""

from __future__ import annotations

from sqlalchemy import Connection, insert, inspect, select, update

from fabric.store import tables as t
from fabric.store.errors import SchemaVersionError
from fabric.store.migrations import STEPS

SCHEMA_VERSION = 5


def create_schema(connection: Connection) -> None:
    """Makes the tables where there are none; leaves tables of this version as they are; takes older ones
    through the steps between.

    Raises SchemaVersionError when they are of a newer one.
    """
    if not inspect(connection).has_table(t.position.name):
        t.metadata.create_all(connection)
        connection.execute(
            insert(t.position).values(
                id=1,
                schema_version=SCHEMA_VERSION,
                applied_index=0,
                applied_hash=b"",
                applied_term=0,
                configuration=b"",
                time_ms=0,
            )
        )
        return
    found = connection.execute(select(t.position.c.schema_version)).scalar_one()
    if not 1 <= found <= SCHEMA_VERSION:
        raise SchemaVersionError(
            f"the tables have schema version {found}, this program needs {SCHEMA_VERSION}"
        )
    for version in range(found, SCHEMA_VERSION):
        STEPS[version](connection)
        connection.execute(update(t.position).values(schema_version=version + 1))
