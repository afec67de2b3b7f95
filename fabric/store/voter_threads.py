"""The two threads of a voter: one owns its log, one its tables. Jobs of one thread are done in order.

Nothing here decides anything. A job's result comes back on the loop; its error does, too, and ends the voter.
The simulator has threads of its own, which are steps of the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Protocol, TypeVar

R = TypeVar("R")


class JobThread(Protocol):
    """`run` on the loop; `close` once."""

    def run(self, job: Callable[[], R], then: Callable[[R], None]) -> None:
        """Does `job` on the thread, then `then` with its result on the loop."""
        ...

    async def close(self) -> None:
        """Ends what was begun and what waits."""
        ...


class StartThread(Protocol):
    def __call__(self, name: str, on_failure: Callable[[BaseException], None], /) -> JobThread:
        """`on_failure` is called on the loop with what a job raised."""
        ...


class OrderedThread:
    """A queue and a thread: half of what an executor's futures cost, twice for each write and each fold."""

    def __init__(self, name: str, on_failure: Callable[[BaseException], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_failure = on_failure
        self._jobs: SimpleQueue[Callable[[], Callable[[], None]] | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def run(self, job: Callable[[], R], then: Callable[[R], None]) -> None:
        def work() -> Callable[[], None]:
            result = job()
            return lambda: then(result)

        self._jobs.put(work)

    def _work(self) -> None:
        while (work := self._jobs.get()) is not None:
            try:
                finish = work()
            except BaseException as error:  # the loop decides what a failure means
                finish = partial(self._on_failure, error)
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(finish)

    async def close(self) -> None:
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)
