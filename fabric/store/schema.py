"""Making the tables of the baseline, bringing older ones up to it, and refusing what is beyond it.

What comes after the baseline is a revision, which an entry of the log does: see `fabric/store/revisions/`.
"""

from __future__ import annotations

from sqlalchemy import Connection, insert, inspect, select, update

from fabric.store import tables as t
from fabric.store.errors import SchemaVersionError
from fabric.store.migrations import STEPS

SCHEMA_VERSION = 6  # the baseline: it stays
FIRST_LEVEL = 1  # what the baseline is; every log is folded from it on


def create_schema(connection: Connection) -> None:
    """Makes the baseline's tables where there are none; leaves those of its version as they are, whatever
    their level; takes older ones through the steps between.

    Raises SchemaVersionError when they are of another version.
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
                level=FIRST_LEVEL,
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
