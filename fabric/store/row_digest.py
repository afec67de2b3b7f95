"""A digest of all rows: equal on voters that applied the same entries, whatever their files look like."""

from __future__ import annotations

import sqlite3
from hashlib import blake2b

from fabric.store import tables as t
from proto.codec import pack

DIGEST_BYTES = 32
LEFT_OUT = (t.position.c.applied_hash,)  # of first light's log, which only its founder had


def digest_rows(connection: sqlite3.Connection) -> bytes:
    """Of every table in the order of its keys, in the read that `connection` is in. Raises sqlite3.Error."""
    digest = blake2b(digest_size=DIGEST_BYTES)
    for table in t.metadata.sorted_tables:
        columns = ", ".join(f'"{column.name}"' for column in table.columns if column not in LEFT_OUT)
        keys = ", ".join(f'"{column.name}"' for column in table.primary_key.columns)
        digest.update(f"{table.name}\n".encode())
        for row in connection.execute(f'SELECT {columns} FROM "{table.name}" ORDER BY {keys}'):  # noqa: S608
            digest.update(pack(list(row)))
    return digest.digest()
