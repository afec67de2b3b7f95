"""A digest of all rows: equal where the rows are, whatever voter or engine holds them, whatever their files
look like."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from hashlib import blake2b

from fabric.store import tables as t
from proto.codec import Plain, pack

DIGEST_BYTES = 32
ROW_BYTES_MAX = 4 << 20  # an entry has at most 1 MiB, and a row holds little more than what one brought
LEFT_OUT = (t.position.c.applied_hash,)  # of first light's log, which only its founder had


class RowDigest:
    """Fed table after table by name, each row in the order of its keys, as plain values."""

    def __init__(self) -> None:
        self._digest = blake2b(digest_size=DIGEST_BYTES)

    def begin(self, table: str) -> None:
        self._digest.update(f"{table}\n".encode())

    def add(self, row: Sequence[Plain]) -> None:
        self._digest.update(pack(list(row), limit=ROW_BYTES_MAX))

    def digest(self) -> bytes:
        return self._digest.digest()


def digest_rows(connection: sqlite3.Connection) -> bytes:
    """Of every table of a voter, its position too, in the read that `connection` is in. Raises
    sqlite3.Error."""
    digest = RowDigest()
    for table in t.metadata.sorted_tables:
        columns = ", ".join(f'"{column.name}"' for column in table.columns if column not in LEFT_OUT)
        keys = ", ".join(f'"{column.name}"' for column in table.primary_key.columns)
        digest.begin(table.name)
        for row in connection.execute(f'SELECT {columns} FROM "{table.name}" ORDER BY {keys}'):  # noqa: S608
            digest.add(row)
    return digest.digest()
