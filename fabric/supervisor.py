"""Runs the agent's parts beside one another. One that ends ends them all: a node is whole or it is down."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from fabric.errors import FabricError, Outcome

log = logging.getLogger(__name__)

STOP_TIMEOUT_S = 20.0  # for a part to close by itself
CANCEL_TIMEOUT_S = 5.0  # a loop that will not end is left behind


class PartFailedError(FabricError):
    """A part of the agent cannot go on, so the agent stopped. Its supervisor may start it again at once."""

    code = "fabric.agent.part_failed"
    outcome = Outcome.NOT_DONE


class Supervisor:
    """`stop` is set when the agent is to stop, by a signal or by a part that failed."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self._failure: PartFailedError | None = None

    def fail(self, reason: str) -> None:
        """The first failure is the cause; what fails after it is its consequence."""
        if self._failure is None:
            log.critical("agent cannot go on", extra={"reason": reason})
            self._failure = PartFailedError(reason)
        self.stop.set()

    def raise_failure(self) -> None:
        """Raises PartFailedError when something failed."""
        if self._failure is not None:
            raise self._failure

    def supervise(
        self,
        stack: contextlib.AsyncExitStack,
        name: str,
        work: Coroutine[Any, Any, None],
        close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Runs a part's loop beside us until `stack` unwinds. Should it end by itself, the whole agent stops,
        loudly: whoever supervises us starts us again, and every part recovers from its files."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        task.add_done_callback(self._part_ended)
        stack.push_async_callback(self._end, task, close)

    async def _end(self, task: asyncio.Task[None], close: Callable[[], Awaitable[None]] | None) -> None:
        task.remove_done_callback(self._part_ended)
        if close is not None:
            try:
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await close()
            except TimeoutError:
                log.warning("part is slow to close, cancelled", extra={"part": task.get_name()})
        task.cancel()
        await asyncio.wait((task,), timeout=CANCEL_TIMEOUT_S)
        if not task.done():
            log.error("part does not end", extra={"part": task.get_name()})
        elif not task.cancelled() and task.exception() is not None:
            log.error("part ended badly", extra={"part": task.get_name()}, exc_info=task.exception())

    def _part_ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        log.critical("part failed", extra={"part": task.get_name()}, exc_info=error)
        self.fail(f"{task.get_name()} ended: {error if error is not None else 'by itself'}")
