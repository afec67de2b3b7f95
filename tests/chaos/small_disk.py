"""A disk of a few megabytes: an ext4 file system in a file, mounted by a loop device. Needs root."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from pathlib import Path

FILLER = "filler"
STEP_BYTES = 1 << 20
COMMAND_S = 60


class SmallDisk:
    """In `directory` once mounted; the file stands beside it."""

    def __init__(self, directory: Path, size_bytes: int) -> None:
        self.directory = directory
        self._file = directory.with_suffix(".ext4")
        self._size_bytes = size_bytes

    def mount(self) -> None:
        self.directory.mkdir(parents=True)
        with self._file.open("wb") as file:
            file.truncate(self._size_bytes)
        _run("mkfs.ext4", "-q", "-m", "0", str(self._file))  # nothing is kept back for root: full is full
        _run("mount", "-o", "loop", str(self._file), str(self.directory))  # the device goes with the mount

    def unmount(self) -> None:
        """Also while somebody still has it open."""
        if self.directory.is_mount():
            _run("umount", "--lazy", str(self.directory))
        self._file.unlink(missing_ok=True)

    def fill(self) -> None:
        """To the last byte."""
        with (self.directory / FILLER).open("ab", buffering=0) as filler:
            for size in (STEP_BYTES, 1):
                with contextlib.suppress(_FullError):
                    while True:
                        _write(filler.fileno(), bytes(size))
            os.fsync(filler.fileno())

    def free(self) -> None:
        (self.directory / FILLER).unlink(missing_ok=True)


class _FullError(Exception):
    pass


def _write(descriptor: int, data: bytes) -> None:
    try:
        os.write(descriptor, data)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise _FullError from error
        raise


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True, timeout=COMMAND_S)
