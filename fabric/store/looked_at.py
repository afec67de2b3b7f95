"""A voter's directory as somebody looks at it who may change nothing: what a start would mend stays."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from fabric.core.raft.log import SnapshotMark
from fabric.store.errors import SnapshotRefusedError
from fabric.store.files import File
from fabric.store.incarnation import read_incarnation
from fabric.store.sqlite import DATABASE, open_reader
from fabric.store.voter_id import known_voter_id
from fabric.store.voter_log import Restored, VoterLog
from fabric.store.voter_tables import mark_of_copy
from proto.errors import WireError
from proto.ids import VoterId


class UnchangedFile:
    """Takes writes and forgets them."""

    def write_at(self, data: bytes, offset: int) -> None:
        del data, offset

    def sync(self) -> None:
        pass

    def close(self) -> None:
        pass


class UnchangedFiles:
    """Files to read. Raises OSError."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def names(self) -> list[str]:
        if not self._directory.is_dir():
            return []
        return sorted(path.name for path in self._directory.iterdir())

    def read(self, name: str) -> bytes:
        return (self._directory / name).read_bytes()

    def create(self, name: str, size: int) -> File:
        del size
        raise PermissionError(f"{name}: this is only looked at")

    def open(self, name: str) -> File:
        del name
        return UnchangedFile()

    def rename(self, old: str, new: str) -> None:
        del old, new

    def remove(self, name: str) -> None:
        del name

    def sync_names(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Seen:
    voter: VoterId | None
    incarnation: int
    log: Restored | None  # None: there is none
    applied: SnapshotMark
    applied_ms: int  # the leader's wall clock at the last entry folded

    @property
    def last_index(self) -> int:
        return self.applied.index if self.log is None else self.log.mark.index + len(self.log.entries)

    @property
    def last_term(self) -> int:
        if self.log is None:
            return self.applied.term
        return self.log.entries[-1].term if self.log.entries else self.log.mark.term


def look(directory: Path) -> Seen:
    """Raises LogCorruptError, SnapshotRefusedError (the tables), OSError."""
    with closing(VoterLog(UnchangedFiles(directory / "log"))) as voter_log:
        restored = voter_log.open()
    try:
        with closing(open_reader(directory / DATABASE)) as tables:
            applied = mark_of_copy(tables)
            (time_ms,) = tables.execute("SELECT time_ms FROM position").fetchone()
    except (sqlite3.Error, WireError, TypeError) as error:
        raise SnapshotRefusedError(f"{directory / DATABASE} cannot be read: {error}") from error
    return Seen(known_voter_id(directory), read_incarnation(directory), restored, applied, time_ms)
