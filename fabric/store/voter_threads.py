"""The two threads of a voter: one owns its log, one its tables. Jobs of one thread are done in order.

Nothing here decides anything. A job's result comes back on the loop; its error does, too, and ends the voter.
The simulator has threads of its own, which are steps of the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
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
    def __init__(self, name: str, on_failure: Callable[[BaseException], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._on_failure = on_failure

    def run(self, job: Callable[[], R], then: Callable[[R], None]) -> None:
        def done(future: Future[R]) -> None:
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(finish, future)

        def finish(future: Future[R]) -> None:
            error = future.exception()
            if error is not None:
                self._on_failure(error)
            else:
                then(future.result())

        self._executor.submit(job).add_done_callback(done)

    async def close(self) -> None:
        await asyncio.to_thread(self._executor.shutdown)
