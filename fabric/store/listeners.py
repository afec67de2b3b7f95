"""Who wants to hear of applied entries."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from fabric.core.queries import AppliedEntry, Listener

log = logging.getLogger(__name__)

LISTENERS_MAX = 1_024


class Listeners:
    """Told in the order they came, on the loop. One that raises is logged and disturbs nobody."""

    def __init__(self) -> None:
        self._listeners: dict[int, Listener] = {}
        self._next = 0

    def add(self, listener: Listener) -> Callable[[], None]:
        assert len(self._listeners) < LISTENERS_MAX, "a listener is added again and again"
        key, self._next = self._next, self._next + 1
        self._listeners[key] = listener

        def remove() -> None:
            self._listeners.pop(key, None)

        return remove

    def tell(self, entries: Sequence[AppliedEntry]) -> None:
        for entry in entries:
            for listener in list(self._listeners.values()):
                try:
                    listener(entry)
                except Exception:  # the top of a loop: one listener's bug is not another's
                    log.exception("listener failed", extra={"kind": entry.command.KIND, "index": entry.index})
