"""The log as the core knows it: what follows the last snapshot, in memory, bounded by compaction.

Disk is the runtime's: what changes here is handed out in `Ready` and written before anything is promised.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from fabric.core.raft.configuration import Configuration, decode_configuration
from proto.ids import LogIndex, Term
from proto.raft import EntryKind, LogEntry


@dataclass(frozen=True, slots=True)
class SnapshotMark:
    """Everything up to `index` is in a snapshot; `configuration` is the one in force there."""

    index: LogIndex
    term: Term
    configuration: Configuration


class RaftLog:
    """Invariant: `_entries[i].index == mark.index + 1 + i`, terms never fall, and `_configurations` holds
    the configuration of each configuration entry, oldest first."""

    def __init__(self, mark: SnapshotMark, entries: Sequence[LogEntry] = ()) -> None:
        self._mark = mark
        self._entries: list[LogEntry] = []
        self._configurations: list[tuple[LogIndex, Configuration]] = []
        self.append(entries)

    @property
    def mark(self) -> SnapshotMark:
        return self._mark

    @property
    def first_index(self) -> LogIndex:
        """Of the oldest entry still here."""
        return LogIndex(self._mark.index + 1)

    @property
    def last_index(self) -> LogIndex:
        return LogIndex(self._mark.index + len(self._entries))

    @property
    def last_term(self) -> Term:
        return self._entries[-1].term if self._entries else self._mark.term

    @property
    def configuration(self) -> Configuration:
        """The latest in the log, committed or not (thesis, 4.1)."""
        return self._configurations[-1][1] if self._configurations else self._mark.configuration

    @property
    def configuration_before(self) -> Configuration:
        """The one that the latest replaces, if that is in the log still."""
        return self._configurations[-2][1] if len(self._configurations) > 1 else self._mark.configuration

    @property
    def configuration_index(self) -> LogIndex:
        return self._configurations[-1][0] if self._configurations else self._mark.index

    def term_at(self, index: int) -> Term | None:
        """None: it was compacted away, or is not there yet."""
        if index == self._mark.index:
            return self._mark.term
        at = index - self._mark.index - 1
        return self._entries[at].term if 0 <= at < len(self._entries) else None

    def is_up_to_date(self, last_index: int, last_term: int) -> bool:
        """Whether a log that ends there holds at least what this one may have committed (paper, 5.4.1)."""
        return (last_term, last_index) >= (self.last_term, self.last_index)

    def slice(self, start: int, stop: int) -> list[LogEntry]:
        """Entries from `start` up to and without `stop`, which must be here."""
        first = self._mark.index + 1
        assert first <= start <= stop <= self.last_index + 1, (first, start, stop, self.last_index)
        return self._entries[start - first : stop - first]

    def some_from(self, start: int, *, entries_max: int, bytes_max: int) -> list[LogEntry]:
        """As many as one message may hold, at least one when there is one."""
        found: list[LogEntry] = []
        size = 0
        at = start - self._mark.index - 1
        for entry in self._entries[at : at + entries_max]:
            size += len(entry.data)
            if found and size > bytes_max:
                break
            found.append(entry)
        return found

    def append(self, entries: Sequence[LogEntry]) -> None:
        for entry in entries:
            assert entry.index == self.last_index + 1, (entry.index, self.last_index)
            assert entry.term >= self.last_term
            if entry.kind is EntryKind.CONFIGURATION:
                self._configurations.append((entry.index, decode_configuration(entry.data)))
            self._entries.append(entry)

    def truncate_from(self, index: int) -> None:
        """Forgets `index` and all after it."""
        del self._entries[max(0, index - self._mark.index - 1) :]
        while self._configurations and self._configurations[-1][0] >= index:
            self._configurations.pop()

    def compact(self, index: int) -> None:
        """A snapshot holds everything up to `index` now."""
        term = self.term_at(index)
        if index <= self._mark.index or term is None:
            return
        configuration = self._mark.configuration
        while self._configurations and self._configurations[0][0] <= index:
            configuration = self._configurations.pop(0)[1]
        del self._entries[: index - self._mark.index]
        self._mark = SnapshotMark(LogIndex(index), term, configuration)

    def restart_at(self, mark: SnapshotMark) -> None:
        """A snapshot from elsewhere replaces everything."""
        self._mark = mark
        self._entries.clear()
        self._configurations.clear()

    def find_conflict(self, index: int, term: int) -> tuple[LogIndex, Term]:
        """The last place at or before `index` whose term is at most `term`: where a log that has `term` there
        may still agree with this one. One step for each term, not for each entry (paper, 5.3, end)."""
        before = max(0, min(index, self.last_index) - self._mark.index)
        at = bisect_right(self._entries, term, 0, before, key=_term)
        return LogIndex(self._mark.index + at), self._entries[at - 1].term if at else self._mark.term


def _term(entry: LogEntry) -> Term:
    return entry.term
