"""Small JSON files that are whole or absent, whatever crashes."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

from fabric.compute.errors import DamagedFileError
from fabric.compute.unbroken import unbroken

BYTES_MAX = 1 << 20
FLUSH_TIMEOUT_S = 10.0  # a disk that takes longer has other troubles


def write_json(path: Path, value: object) -> None:
    """Durable when it returns: written aside, fsynced, renamed, directory fsynced. Raises OSError.
    Blocks for a disk flush: call it in a thread. One writer a path at a time."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.new")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(value, file, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


async def save_json(path: Path, value: object) -> None:
    """`write_json` in a thread. A cancelled caller waits for it: an older value must never land after a
    newer one. Raises OSError."""
    await unbroken(asyncio.to_thread(write_json, path, value), grace_s=FLUSH_TIMEOUT_S)


def read_json(path: Path) -> dict[str, object] | None:
    """None when there is no such file.

    Raises:
        DamagedFileError: it is not the JSON map we wrote; the message names the file.
        OSError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(BYTES_MAX + 1)
    except FileNotFoundError:
        return None
    try:
        value = json.loads(data) if len(data) <= BYTES_MAX else None
    except ValueError as error:
        raise DamagedFileError(f"{path} is damaged: {error}") from error
    if not isinstance(value, dict):
        raise DamagedFileError(f"{path} is damaged: not a map")
    return value
