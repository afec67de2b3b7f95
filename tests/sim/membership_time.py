"""Virtual time: what happens when, in one order for one seed. Nothing here ever waits."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Any

Action = Callable[[Any], None]

START_MS = 1_000
NEVER_MS = 1 << 60


class Schedule:
    """Actions at virtual milliseconds. Of those due together the one asked for first comes first."""

    def __init__(self) -> None:
        self.now_ms = START_MS
        self._heap: list[tuple[int, int, Action, Any]] = []
        self._order = itertools.count()

    def at(self, when_ms: int, action: Action, argument: Any = None) -> None:
        assert when_ms >= self.now_ms
        heapq.heappush(self._heap, (when_ms, next(self._order), action, argument))

    def after(self, wait_ms: int, action: Action, argument: Any = None) -> None:
        heapq.heappush(self._heap, (self.now_ms + wait_ms, next(self._order), action, argument))

    def run_to(self, end_ms: int) -> None:
        heap, pop = self._heap, heapq.heappop
        while heap and heap[0][0] <= end_ms:
            self.now_ms, _, action, argument = pop(heap)
            action(argument)
        self.now_ms = end_ms

    def __len__(self) -> int:
        return len(self._heap)
