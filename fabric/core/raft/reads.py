"""ReadIndex: a read is as fresh as any when a majority still followed us after it was asked (thesis, 6.4).

One round of heartbeats serves all reads that were waiting when it began; those asked meanwhile wait for the
next. No clock is trusted.
"""

from __future__ import annotations

from collections.abc import Hashable

from proto.ids import LogIndex


class Reads:
    def __init__(self) -> None:
        self._waiting: list[Hashable] = []
        self._running: list[Hashable] = []
        self._index = LogIndex(0)
        self.round = 0  # of the heartbeats that go out now

    @property
    def is_running(self) -> bool:
        return bool(self._running)

    def ask(self, key: Hashable) -> None:
        self._waiting.append(key)

    def begin(self, commit_index: LogIndex) -> bool:
        """Starts a round for those who wait. False: nobody does, or one is under way."""
        if self._running or not self._waiting:
            return False
        self._running, self._waiting = self._waiting, []
        self._index = commit_index
        self.round += 1
        return True

    def end(self) -> tuple[list[Hashable], LogIndex]:
        """A majority answered the round: these may read at this index."""
        done, self._running = self._running, []
        return done, self._index

    def all_keys(self) -> list[Hashable]:
        return [*self._running, *self._waiting]
