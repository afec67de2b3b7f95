"""When the core wants to be woken. Keys, not handles: setting a key again replaces it."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Hashable


class Timers:
    """`next_ms` is when the first is due; it is asked several times an event, so it is kept, not sought.

    Invariant: every key in `_due` has an entry with the same time in the heap; other entries are stale.
    """

    __slots__ = ("_count", "_due", "_heap", "next_ms")

    def __init__(self) -> None:
        self.next_ms: int | None = None
        self._due: dict[Hashable, int] = {}
        self._heap: list[tuple[int, int, Hashable]] = []
        self._count = itertools.count()

    def set(self, key: Hashable, due_ms: int) -> None:
        before_ms = self._due.get(key)
        if before_ms == due_ms:
            return
        self._due[key] = due_ms
        heapq.heappush(self._heap, (due_ms, next(self._count), key))
        if self.next_ms is None or due_ms < self.next_ms:
            self.next_ms = due_ms
        elif before_ms == self.next_ms:
            self._find_next()

    def set_earlier(self, key: Hashable, due_ms: int) -> None:
        """Unless it is due before that already."""
        if self._due.get(key, due_ms + 1) > due_ms:
            self.set(key, due_ms)

    def cancel(self, key: Hashable) -> None:
        if self._due.pop(key, None) == self.next_ms:
            self._find_next()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._due

    def pop(self, now_ms: int) -> tuple[Hashable, int] | None:
        """The most overdue key with its time, or None."""
        at_ms = self.next_ms
        if at_ms is None or at_ms > now_ms:
            return None
        key = heapq.heappop(self._heap)[2]
        del self._due[key]
        self._find_next()
        return key, at_ms

    def _find_next(self) -> None:
        """Also leaves a valid entry on top of the heap, which `pop` takes."""
        heap, due = self._heap, self._due
        while heap:
            at_ms, _, key = heap[0]
            if due.get(key) == at_ms:
                self.next_ms = at_ms
                return
            heapq.heappop(heap)
        self.next_ms = None
