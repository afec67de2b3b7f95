"""How long one callback keeps the event loop from all others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Hold:
    """`whose`: the task's name, or the function's."""

    wall_s: float
    busy_s: float
    whose: str


@contextmanager
def timed_callbacks() -> Iterator[list[Hold]]:
    """Of all callbacks meanwhile. A callback that waits for the interpreter's lock, which another thread has,
    or for a processor, holds the loop as well: that is in `wall_s` and not in `busy_s`."""
    holds: list[Hold] = []
    handle: Any = asyncio.Handle
    real: Callable[[Any], None] = handle._run

    def run(self: Any) -> None:
        began, busy = time.perf_counter(), time.thread_time()
        real(self)
        busy_s, wall_s = time.thread_time() - busy, time.perf_counter() - began
        holds.append(Hold(wall_s, busy_s, _whose(self._callback)))

    handle._run = run
    try:
        yield holds
    finally:
        handle._run = real


def _whose(callback: Any) -> str:
    task = getattr(callback, "__self__", None)
    return task.get_name() if isinstance(task, asyncio.Task) else getattr(callback, "__qualname__", "a timer")
