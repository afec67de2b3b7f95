"""Small JSON files that are whole or absent, whatever crashes."""

from __future__ import annotations

import json
import os
from pathlib import Path

BYTES_MAX = 1 << 20


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


def read_json(path: Path) -> dict[str, object] | None:
    """None when there is no such file.

    Raises:
        ValueError: it is not the JSON map we wrote; the message names the file.
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
        raise ValueError(f"{path} is damaged: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} is damaged: not a map")
    return value
