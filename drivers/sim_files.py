"""The simulated driver's files: replaced whole or not at all, errors as drivers say them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from proto.errors import DriverError

TEMPORARY = ".part-"


@contextmanager
def as_driver_error(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DriverError(f"{path}: {error.strerror}") from error


def create(path: Path, data: bytes) -> None:
    """Writes a file that is not there, whole or not at all; leaves one that is."""
    if not path.exists():
        replace_file(path, data)


def replace_file(path: Path, data: bytes) -> None:
    fresh = path.with_name(f"{path.name}{TEMPORARY}{secrets.token_hex(4)}")
    with as_driver_error(path):
        fresh.write_bytes(data)
        os.replace(fresh, path)
