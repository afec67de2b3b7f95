"""When a voter's log is cut, and where: behind what its tables made durable, with a trail for who is a little
behind."""

from __future__ import annotations

from collections.abc import Callable

from fabric.core.raft.log import SnapshotMark
from fabric.store.snapshot_files import SnapshotFiles
from fabric.store.voter_log import VoterLog
from fabric.store.voter_tables import VoterTables
from fabric.store.voter_threads import JobThread
from proto.ids import LogIndex

COMPACT_ENTRIES = 10_000  # folded since the log was last cut
TRAIL_ENTRIES = 5_000  # kept behind the cut: who is a little behind needs no snapshot (as in etcd)
SEGMENTS_MAX = 4  # and all entries in them are in memory, too: beyond that the trail is short
TRAIL_SHORT_ENTRIES = 100
PAUSE_ENTRIES = 500  # or a segment, after a try that came to nothing: a long read, or a snapshot under way to
# somebody, holds it back, and lasts


class VoterCompaction:
    def __init__(
        self,
        log: VoterLog,
        tables: VoterTables,
        snapshot_files: SnapshotFiles,
        log_thread: JobThread,
        tables_thread: JobThread,
        cut: Callable[[LogIndex], SnapshotMark | None],
    ) -> None:
        """`cut`: tells the core to forget what is up to that entry; its new mark, or None where nothing is
        cut or the voter has stopped."""
        self._log = log
        self._tables = tables
        self._snapshot_files = snapshot_files
        self._log_thread = log_thread
        self._tables_thread = tables_thread
        self._cut = cut
        self._is_running = False
        self._paused_until = LogIndex(0)  # unless there are more segments than then
        self._segments_then = 0

    def begin_if_due(self, mark: LogIndex, applied: LogIndex) -> None:
        """`mark`: where the log begins now. Flushes the tables, then cuts the log some way behind them."""
        behind = applied - mark
        is_due = behind >= COMPACT_ENTRIES + TRAIL_ENTRIES or (
            self._log.segment_count > SEGMENTS_MAX and behind > TRAIL_SHORT_ENTRIES
        )
        is_pausing = applied < self._paused_until and self._log.segment_count <= self._segments_then
        if self._is_running or not is_due or is_pausing:
            return
        self._is_running = True
        self._paused_until = LogIndex(applied + PAUSE_ENTRIES)
        self._segments_then = self._log.segment_count
        self._tables_thread.run(self._checkpoint, self._checkpointed)

    def _checkpoint(self) -> LogIndex | None:
        index = self._tables.mark.index
        if not self._tables.checkpoint():
            return None
        self._snapshot_files.forget(index)
        return index

    def _checkpointed(self, index: LogIndex | None) -> None:
        self._is_running = False
        if index is None:
            return
        trail = TRAIL_SHORT_ENTRIES if self._log.segment_count > SEGMENTS_MAX else TRAIL_ENTRIES
        mark = self._cut(LogIndex(index - trail))
        if mark is not None:
            self._paused_until = LogIndex(0)
            self._log_thread.run(lambda: self._log.compact(mark), lambda _: None)
