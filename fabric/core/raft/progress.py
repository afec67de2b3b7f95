"""What the leader knows of one follower, and how much it sends before it hears an answer.

After etcd-io/raft `tracker/progress.go`: *probe* sends one Append at a time until it knows where the logs
agree; *replicate* sends ahead, up to a window; *snapshot* waits for one to arrive. Without them every stale
refusal sends the whole suffix again: a storm that no safety test sees (design/log.md, 6).
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto

from proto.ids import LogIndex


class Pace(Enum):
    PROBE = auto()
    REPLICATE = auto()
    SNAPSHOT = auto()


class Progress:
    """Invariant: 0 <= match < next."""

    __slots__ = (
        "answered_ms",
        "inflight",
        "is_paused",
        "match",
        "next",
        "nudged_ms",
        "pace",
        "pending_snapshot",
        "round",
        "told",
        "wrote_ms",
    )

    def __init__(self, next_index: int, answered_ms: int = -1) -> None:
        self.match = LogIndex(0)
        self.next = LogIndex(next_index)
        self.pace = Pace.PROBE
        self.is_paused = False  # a probe is under way
        self.inflight: deque[LogIndex] = deque()  # last index of each Append not answered yet
        self.pending_snapshot = LogIndex(0)
        self.answered_ms = answered_ms  # when it last said anything in this term; -1: never
        self.nudged_ms = answered_ms  # when it was last asked where it is because it lags
        self.wrote_ms = answered_ms  # when its disk last did what it owed, or owed nothing
        self.round = 0  # the latest heartbeat it answered
        self.told = LogIndex(0)  # up to where it was told that all is committed

    def may_send(self, inflight_max: int) -> bool:
        match self.pace:
            case Pace.PROBE:
                return not self.is_paused
            case Pace.REPLICATE:
                return len(self.inflight) < inflight_max
            case Pace.SNAPSHOT:
                return False

    def sent(self, last_index: LogIndex) -> None:
        """An Append left whose last entry, or whose question, is at `last_index`."""
        if self.pace is Pace.REPLICATE:
            if last_index >= self.next:
                self.next = LogIndex(last_index + 1)
                self.inflight.append(last_index)
        else:
            self.is_paused = True

    def matched(self, index: LogIndex) -> None:
        """It holds everything up to `index`."""
        while self.inflight and self.inflight[0] <= index:
            self.inflight.popleft()
        self.match = LogIndex(max(self.match, index))
        self.next = LogIndex(max(self.next, index + 1))
        if self.pace is Pace.PROBE or (self.pace is Pace.SNAPSHOT and self.match >= self.pending_snapshot):
            self._become(Pace.REPLICATE)
            self.next = LogIndex(self.match + 1)

    def refused(self, index: LogIndex, hint: LogIndex) -> bool:
        """Its log does not match at `index`, and may at `hint`. False: an answer of long ago."""
        if index <= self.match:
            return False
        if self.pace is Pace.REPLICATE:
            self._become(Pace.PROBE)
            self.next = LogIndex(self.match + 1)
            return True
        if index != self.next - 1 or self.pace is Pace.SNAPSHOT:
            return False
        self.next = LogIndex(max(min(index, hint + 1), self.match + 1))
        self.is_paused = False
        return True

    def needs_snapshot(self, index: LogIndex) -> None:
        self._become(Pace.SNAPSHOT)
        self.pending_snapshot = index

    def snapshot_ended(self) -> None:
        """It arrived, or did not: a probe tells."""
        if self.pace is Pace.SNAPSHOT:
            self.next = LogIndex(max(self.match + 1, self.pending_snapshot + 1))
            self._become(Pace.PROBE)

    def _become(self, pace: Pace) -> None:
        self.pace = pace
        self.is_paused = False
        self.inflight.clear()
        self.pending_snapshot = LogIndex(0)
