"""The few things a durable log does to files, as a contract: the simulator has disks of its own.

Paths are names within one directory. Whoever opens a file closes it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

DISK_FREE_BYTES_MIN = 64 << 20  # below it nothing new is taken: logs, rows and images need room to end well


def fsync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_private(path: Path, data: bytes) -> None:
    """Whole or not at all, durable, readable by its owner only. Raises OSError."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as out:  # unlike os.write, a file object writes all or raises
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    os.replace(fresh, path)
    fsync_directory(path.parent)


@contextmanager
def new_private_file(to: Path, *, force: bool) -> Iterator[IO[bytes]]:
    """To write from its beginning; there under its name, durable and readable by its owner only, when the
    block ends well, and not at all when it does not. Raises FileExistsError unless `force`, OSError."""
    if to.exists() and not force:
        raise FileExistsError(17, "exists already; --force replaces it", str(to))
    fresh = to.with_name(f"{to.name}.tmp")
    fresh.unlink(missing_ok=True)
    try:
        descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w+b") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        if force:
            fresh.rename(to)
        else:
            os.link(fresh, to)  # unlike a rename, it never replaces what came meanwhile
        fsync_directory(to.absolute().parent)
    finally:
        fresh.unlink(missing_ok=True)


def write_at(descriptor: int, data: bytes, offset: int) -> None:
    """All of `data`, however many calls it takes. Raises OSError."""
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view = view[written:]
        offset += written


class File(Protocol):
    def write_at(self, data: bytes, offset: int) -> None:
        """All of `data`. Not durable before `sync`. Raises OSError."""
        ...

    def sync(self) -> None:
        """What was written is durable. After an error nothing is known of what was. Raises OSError."""
        ...

    def close(self) -> None: ...


class Files(Protocol):
    def names(self) -> list[str]: ...

    def read(self, name: str) -> bytes:
        """Raises OSError."""
        ...

    def create(self, name: str, size: int) -> File:
        """A new file of zeros, preallocated; durable with its name only after `sync` and `sync_names`."""
        ...

    def open(self, name: str) -> File: ...

    def rename(self, old: str, new: str) -> None: ...

    def remove(self, name: str) -> None: ...

    def sync_names(self) -> None:
        """Creations, renames and removals are durable. Raises OSError."""
        ...


class OsFile:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write_at(self, data: bytes, offset: int) -> None:
        write_at(self._descriptor, data, offset)

    def sync(self) -> None:
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class OsFiles:
    """Files of a directory, made with mode 0700 if need be; files have 0600."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def names(self) -> list[str]:
        return sorted(path.name for path in self._directory.iterdir())

    def read(self, name: str) -> bytes:
        return (self._directory / name).read_bytes()

    def create(self, name: str, size: int) -> OsFile:
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        descriptor = os.open(self._directory / name, flags, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size)
        except BaseException:
            os.close(descriptor)
            raise
        return OsFile(descriptor)

    def open(self, name: str) -> OsFile:
        return OsFile(os.open(self._directory / name, os.O_RDWR | os.O_CLOEXEC))

    def rename(self, old: str, new: str) -> None:
        os.rename(self._directory / old, self._directory / new)

    def remove(self, name: str) -> None:
        (self._directory / name).unlink()

    def sync_names(self) -> None:
        fsync_directory(self._directory)
