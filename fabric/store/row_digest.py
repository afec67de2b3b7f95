"""A digest of all rows: equal where the rows are, whatever voter or engine holds them, whatever their files
look like and whatever else their programs know."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from hashlib import blake2b

from fabric.store.row_shape import shapes
from proto.codec import Plain, pack

DIGEST_BYTES = 32
ROW_BYTES_MAX = 4 << 20  # an entry has at most 1 MiB, and a row holds little more than what one brought
LEFT_OUT = frozenset({("position", "applied_hash")})  # of first light's log, which only its founder had


class RowDigest:
    """Fed table after table by name, each row in the order of its keys, as plain values."""

    def __init__(self) -> None:
        self._digest = blake2b(digest_size=DIGEST_BYTES)

    def begin(self, table: str, columns: Sequence[str] = ()) -> None:
        self._digest.update(pack([table, *columns]))

    def add(self, row: Sequence[Plain]) -> None:
        self._digest.update(pack(list(row), limit=ROW_BYTES_MAX))

    def digest(self) -> bytes:
        return self._digest.digest()


def digest_rows(connection: sqlite3.Connection) -> bytes:
    """Of every table of a voter, its position too, and of its shape, in the read that `connection` is in.
    Raises sqlite3.Error."""
    digest = RowDigest()
    for shape in shapes(connection):
        digest.begin(shape.table, shape.columns)
        for row in connection.execute(shape.query(LEFT_OUT)):
            digest.add(row)
    return digest.digest()
