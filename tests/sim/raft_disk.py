"""What a voter's disk holds, and what a crash in the middle of a write leaves of it."""

from __future__ import annotations

from random import Random

from fabric.core.raft.log import SnapshotMark
from fabric.core.raft.ready import HardState, Ready
from proto.raft import EntryKind, LogEntry


class RaftDisk:
    """`entries` follow `mark`. `rows` is what the tables hold: index -> command; they may lag behind the log
    after a crash, for they are not fsynced, and are never ahead of it."""

    def __init__(self, mark: SnapshotMark, snapshot: dict[int, bytes] | None = None) -> None:
        self.hard = HardState()
        self.mark = mark
        self.entries: list[LogEntry] = []
        self.snapshot: dict[int, bytes] = dict(snapshot or {})  # of the tables at `mark`
        self.rows: dict[int, bytes] = dict(self.snapshot)
        self.applied_index = int(mark.index)

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

    def write(self, ready: Ready, arrived: dict[int, bytes] | None) -> None:
        """Durable as a whole when it returns."""
        if ready.snapshot is not None:
            assert arrived is not None
            self.mark, self.snapshot, self.entries = ready.snapshot, dict(arrived), []
            self.rows, self.applied_index = dict(arrived), int(ready.snapshot.index)
        if ready.hard_state is not None:
            self.hard = ready.hard_state
        self._put(ready.entries)

    def write_some(self, ready: Ready, arrived: dict[int, bytes] | None, rng: Random) -> None:
        """The power fails meanwhile. A snapshot is one rename; the hard state is written before entries."""
        step = rng.randrange(4)
        if step == 0:
            return
        self.write(Ready(snapshot=ready.snapshot, hard_state=ready.hard_state), arrived)
        if step > 1:
            self._put(ready.entries[: rng.randrange(len(ready.entries) + 1)])

    def _put(self, entries: tuple[LogEntry, ...]) -> None:
        if entries:
            at = entries[0].index - self.mark.index - 1
            assert 0 <= at <= len(self.entries)
            self.entries[at:] = entries

    def apply(self, entry: LogEntry) -> None:
        assert entry.index == self.applied_index + 1, (entry.index, self.applied_index)
        self.rows[entry.index] = entry.data if entry.kind is EntryKind.COMMAND else b""
        self.applied_index = int(entry.index)

    def lose_rows(self, rng: Random) -> None:
        """A crash: rows not yet checkpointed are gone."""
        kept = rng.randint(int(self.mark.index), self.applied_index)
        self.rows = {index: data for index, data in self.rows.items() if index <= kept}
        self.applied_index = kept

    def compact(self, mark: SnapshotMark) -> None:
        """A snapshot of the tables at `mark` is durable; the log before it goes."""
        assert mark.index <= self.applied_index
        self.snapshot = {index: data for index, data in self.rows.items() if index <= mark.index}
        del self.entries[: mark.index - self.mark.index]
        self.mark = mark
