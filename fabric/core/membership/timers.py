"""When the core wants to be woken. Keys, not handles: setting a key again replaces it."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Hashable


class Timers:
    """Invariant: every key in `_due` has an entry with the same time in the heap; other entries are stale."""

    def __init__(self) -> None:
        self._due: dict[Hashable, int] = {}
        self._heap: list[tuple[int, int, Hashable]] = []
        self._count = itertools.count()

    def set(self, key: Hashable, due_ms: int) -> None:
        if self._due.get(key) != due_ms:
            self._due[key] = due_ms
            heapq.heappush(self._heap, (due_ms, next(self._count), key))

    def set_earlier(self, key: Hashable, due_ms: int) -> None:
        """Unless it is due before that already."""
        if self._due.get(key, due_ms + 1) > due_ms:
            self.set(key, due_ms)

    def cancel(self, key: Hashable) -> None:
        self._due.pop(key, None)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._due

    @property
    def next_ms(self) -> int | None:
        heap, due = self._heap, self._due
        while heap:
            at, _, key = heap[0]
            if due.get(key) == at:
                return at
            heapq.heappop(heap)
        return None

    def pop(self, now_ms: int) -> tuple[Hashable, int] | None:
        """The most overdue key with its time, or None."""
        at = self.next_ms
        if at is None or at > now_ms:
            return None
        _, _, key = heapq.heappop(self._heap)
        del self._due[key]
        return key, at
