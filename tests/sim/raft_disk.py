"""What a voter's log holds durably, written in plain lists: what the real one on its disk is held against."""

from __future__ import annotations

from collections.abc import Sequence

from fabric.core.raft.log import SnapshotMark
from fabric.core.raft.ready import HardState
from proto.raft import LogEntry


class DurableLog:
    """`entries` follow `mark`."""

    def __init__(
        self, mark: SnapshotMark, hard: HardState | None = None, entries: Sequence[LogEntry] = ()
    ) -> None:
        self.hard = hard or HardState()
        self.mark = mark
        self.entries = list(entries)

    @property
    def last_index(self) -> int:
        return int(self.mark.index) + len(self.entries)

    def term_at(self, index: int) -> int | None:
        if index == self.mark.index:
            return int(self.mark.term)
        at = index - self.mark.index - 1
        return int(self.entries[at].term) if 0 <= at < len(self.entries) else None

    def holds(self, index: int, term: int) -> bool:
        """That entry, or a snapshot of it."""
        return index < self.mark.index or self.term_at(index) == term

    def write(
        self, hard: HardState | None, snapshot: SnapshotMark | None, entries: Sequence[LogEntry]
    ) -> None:
        if snapshot is not None:
            self.mark, self.entries = snapshot, []
        if hard is not None:
            self.hard = hard
        for entry in entries:
            at = entry.index - self.mark.index - 1
            assert 0 <= at <= len(self.entries)
            self.entries[at:] = [entry]

    def compact(self, mark: SnapshotMark) -> None:
        del self.entries[: mark.index - self.mark.index]
        self.mark = mark
