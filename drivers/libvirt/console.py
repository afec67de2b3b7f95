"""The guest's serial log: read its tail, and keep it from filling the host's disk.

With virtlogd (a real machine) libvirt itself rolls `console.log` over to `console.log.0` at 2 MiB. Where QEMU
writes the file directly nothing bounds it, so we do the same at twice that size. QEMU appends, so truncating
under it is safe; bytes written between our copy and the truncation are lost, which a console log can bear.
"""

from __future__ import annotations

import os
from pathlib import Path

ROLL_OVER_BYTES = 4 * 1024 * 1024
KEPT_BYTES = 1024 * 1024
TAIL_BYTES_MAX = 8 * 1024 * 1024


def tail(log: Path, bytes_max: int) -> bytes:
    """The last `bytes_max` bytes, reaching into the rolled-over file when need be."""
    wanted = max(0, min(bytes_max, TAIL_BYTES_MAX))
    newest = _tail_of(log, wanted)
    return _tail_of(_rolled(log), wanted - len(newest)) + newest


def roll_over(log: Path) -> None:
    """Bounds the file. Does nothing while it is small or not there."""
    try:
        if log.stat().st_size <= ROLL_OVER_BYTES:
            return
        kept = _tail_of(log, KEPT_BYTES)
        fresh = log.with_name(log.name + ".part-rolled")
        fresh.write_bytes(kept)
        os.replace(fresh, _rolled(log))
        os.truncate(log, 0)
    except FileNotFoundError:
        return  # removed under us: the server is going


def _rolled(log: Path) -> Path:
    return log.with_name(log.name + ".0")


def _tail_of(path: Path, bytes_max: int) -> bytes:
    if bytes_max <= 0:
        return b""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - bytes_max))
            return file.read(bytes_max)
    except FileNotFoundError:
        return b""
