"""Copies of the tables on disk: those that arrived and wait to be put in, those on their way to others."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

from fabric.core.raft.log import SnapshotMark
from fabric.store.files import fsync_directory
from proto.ids import VoterId

SNAPSHOTS = "snapshots"  # in a voter's directory
_ARRIVED, _UNFINISHED = ".snapshot", ".tmp"


class SnapshotFiles:
    """Of one voter, in a directory of their own. A crash leaves whole arrived ones; the rest is swept."""

    def __init__(self, directory: Path) -> None:
        """Raises OSError."""
        self._directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in directory.glob(f"*{_UNFINISHED}*"):
            path.unlink()

    def unfinished(self, name: str) -> Path:
        """Where to write one; private from its first byte. Raises OSError."""
        return unfinished_file(self._directory, name)

    def keep(self, path: Path, mark: SnapshotMark) -> None:
        """It is whole: durable under its mark when this returns. Raises OSError."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        path.rename(self._path_of(mark))
        fsync_directory(self._directory)

    def open(self, mark: SnapshotMark) -> sqlite3.Connection | None:
        """To be closed by the caller. Raises sqlite3.Error."""
        path = self._path_of(mark)
        if not path.exists():
            return None
        return open_copy(path)

    def forget(self, up_to: int) -> None:
        """The tables hold durably what these would bring. Raises OSError."""
        for path in self._directory.glob(f"*{_ARRIVED}"):
            if int(path.name.split("-")[0]) <= up_to:
                path.unlink()

    def _path_of(self, mark: SnapshotMark) -> Path:
        return self._directory / f"{mark.index:020d}-{mark.term}{_ARRIVED}"


def unfinished_file(directory: Path, name: str) -> Path:
    """As `SnapshotFiles.unfinished`, for who only writes one: nothing is swept. Raises OSError."""
    path = directory / f"{name}{_UNFINISHED}"
    path.unlink(missing_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    return path


def incoming_file(directory: Path, sender: VoterId) -> Path:
    """Where a snapshot that begins to arrive is written. Raises OSError."""
    return unfinished_file(directory, f"from-{sender}")


def open_copy(path: Path) -> sqlite3.Connection:
    """Of a file that nobody writes any more; for one thread at a time. Raises sqlite3.Error."""
    uri = f"file:{quote(str(path))}?mode=ro&immutable=1"
    return sqlite3.connect(uri, uri=True, check_same_thread=False)
