"""Entries told in the order of their indices, each once, whoever brings them first."""

from __future__ import annotations

from fabric.core.queries import AppliedEntry
from fabric.store.listeners import Listeners
from proto.ids import LogIndex


class InOrder:
    """Two bring entries: who committed one here, and who reads the feed. On one event loop."""

    def __init__(self, listeners: Listeners) -> None:
        self._listeners = listeners
        self.told = LogIndex(0)
        self.passed_over = 0  # how often something was applied that nobody is told of

    def begin(self, index: LogIndex) -> None:
        """What was applied up to there is in the rows that everybody starts from."""
        self.told = index

    def begin_again(self, index: LogIndex) -> None:
        """The rows are others now."""
        self.passed_over += 1
        self.begin(index)

    def bring(self, index: LogIndex, entry: AppliedEntry | None) -> bool:
        """`entry` None: it was rejected, and nobody is told. False: not told, something before it is missing
        here. What was told before is true, and told once."""
        if index <= self.told:
            return True
        if index != self.told + 1:
            return False
        self.told = index
        if entry is not None:
            self._listeners.tell([entry])
        return True

    def pass_over(self, index: LogIndex) -> None:
        """What lies before `index` cannot be had any more, or not be understood."""
        if index > self.told + 1:
            self.passed_over += 1
        self.told = max(self.told, LogIndex(index - 1))
