"""What an event made the core owe, until it is handed over as one `Ready`."""

from __future__ import annotations

from collections.abc import Hashable

from fabric.core.raft.log import SnapshotMark
from fabric.core.raft.ready import Appended, HardState, ReadAt, Ready, Refused, Send, SnapshotWanted
from proto.ids import LogIndex, Term, VoterId
from proto.raft import LogEntry, RaftMessage


class Outbox:
    def __init__(self) -> None:
        self._early: list[Send] = []
        self._snapshot: SnapshotMark | None = None
        self._entries: list[LogEntry] = []
        self._messages: list[Send] = []
        self._appended: list[Appended] = []
        self._refused: list[Refused] = []
        self._reads: list[ReadAt] = []
        self._snapshots_wanted: list[SnapshotWanted] = []

    def send_early(self, to: VoterId, message: RaftMessage) -> None:
        """It promises nothing that must be on disk first."""
        self._early.append(Send(to, message))

    def send(self, to: VoterId, message: RaftMessage) -> None:
        self._messages.append(Send(to, message))

    def persist(self, entries: list[LogEntry]) -> None:
        self._entries += entries

    def install(self, mark: SnapshotMark) -> None:
        assert not self._entries
        self._snapshot = mark

    def appended(self, key: Hashable, index: LogIndex, term: Term) -> None:
        self._appended.append(Appended(key, index, term))

    def refuse(self, key: Hashable, leader: VoterId | None) -> None:
        self._refused.append(Refused(key, leader))

    def read(self, key: Hashable, index: LogIndex) -> None:
        self._reads.append(ReadAt(key, index))

    def want_snapshot(self, to: VoterId) -> None:
        self._snapshots_wanted.append(SnapshotWanted(to))

    def collect(self, hard_state: HardState | None, committed: list[LogEntry]) -> Ready:
        ready = Ready(
            early=tuple(self._early),
            hard_state=hard_state,
            snapshot=self._snapshot,
            entries=tuple(self._entries),
            messages=tuple(self._messages),
            committed=tuple(committed),
            appended=tuple(self._appended),
            refused=tuple(self._refused),
            reads=tuple(self._reads),
            snapshots_wanted=tuple(self._snapshots_wanted),
        )
        self.__init__()  # type: ignore[misc]
        return ready
