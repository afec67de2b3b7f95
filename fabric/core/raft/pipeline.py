"""Works `Ready`s off in their order, as many at a time as wait: one write for all, then what it promised.

While one group is made durable the next one gathers, so a slow disk makes larger groups and not a longer
queue (natural group commit; Helland and others, "Group Commit Timers and High Volume Transaction Systems",
1987). Nothing here touches a disk: who owns it takes a `Write`, makes it durable and says `written`; who owns
the tables takes a `Fold`, does it and says `folded`. Both may be under way at once.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from fabric.core.raft.log import SnapshotMark
from fabric.core.raft.ready import HardState, Ready, Send
from proto.raft import LogEntry

WRITE_BYTES_MAX = 4 << 20  # of the entries of one group; one `Ready` may be more
FOLD_ENTRIES_MAX = 512


@dataclass(frozen=True, slots=True)
class Write:
    """To be made durable in field order. `snapshot`: the log starts anew behind it."""

    hard_state: HardState | None = None
    snapshot: SnapshotMark | None = None
    entries: tuple[LogEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class Fold:
    """For the tables: they become the snapshot's, if there is one, and then take the entries."""

    snapshot: SnapshotMark | None = None
    entries: tuple[LogEntry, ...] = ()


class Pipeline:
    """`early` and what concerns who asked is not its business: that is owed as soon as a `Ready` is there."""

    def __init__(self) -> None:
        self._waiting: deque[Ready] = deque()  # not durable, not being written
        self._writing: list[Ready] = []
        self._folds: deque[SnapshotMark | LogEntry] = deque()  # durable and committed
        self._is_folding = False

    @property
    def is_idle(self) -> bool:
        return not (self._waiting or self._writing or self._folds or self._is_folding)

    def push(self, ready: Ready) -> list[Send]:
        """Gives what may leave now, for nothing in front of it waits for the disk."""
        self._waiting.append(ready)
        return [] if self._writing else self._pass_unwritten()

    def take_write(self) -> Write | None:
        """What to make durable next; None while there is nothing, or one is under way. A snapshot begins a
        group: entries in front of it belong to the log that it replaces."""
        if self._writing or not self._waiting:
            return None
        size = 0
        while self._waiting and size < WRITE_BYTES_MAX:
            if self._writing and self._waiting[0].snapshot is not None:
                break
            ready = self._waiting.popleft()
            self._writing.append(ready)
            size += sum(len(entry.data) for entry in ready.entries)
        return _merge(self._writing)

    def written(self) -> list[Send]:
        """The write is durable. Gives what may leave now."""
        assert self._writing, "nothing is being written"
        group, self._writing = self._writing, []
        sends = [send for ready in group for send in self._release(ready)]
        return sends + self._pass_unwritten()

    def take_fold(self) -> Fold | None:
        """What to fold next; None while there is nothing, or one is under way."""
        if self._is_folding or not self._folds:
            return None
        self._is_folding = True
        snapshot: SnapshotMark | None = None
        entries: list[LogEntry] = []
        while self._folds and len(entries) < FOLD_ENTRIES_MAX:
            step = self._folds[0]
            if isinstance(step, SnapshotMark):
                if entries:
                    break
                snapshot = step  # a later one holds what an earlier one does
            else:
                entries.append(step)
            self._folds.popleft()
        return Fold(snapshot, tuple(entries))

    def folded(self) -> None:
        assert self._is_folding, "nothing is being folded"
        self._is_folding = False

    def _pass_unwritten(self) -> list[Send]:
        sends: list[Send] = []
        while self._waiting and not _owes_disk(self._waiting[0]):
            sends += self._release(self._waiting.popleft())
        return sends

    def _release(self, ready: Ready) -> tuple[Send, ...]:
        if ready.snapshot is not None:
            self._folds.append(ready.snapshot)
        self._folds.extend(ready.committed)
        return ready.messages


def _owes_disk(ready: Ready) -> bool:
    return ready.hard_state is not None or ready.snapshot is not None or bool(ready.entries)


def _merge(group: list[Ready]) -> Write:
    """The last hard state holds for all: none of their messages has left. An entry replaces what an earlier
    one put at its index; only the log on disk has to see both, in order."""
    hard_states = [ready.hard_state for ready in group if ready.hard_state is not None]
    return Write(
        hard_states[-1] if hard_states else None,
        group[0].snapshot,
        tuple(entry for ready in group for entry in ready.entries),
    )
