"""A voter's thread as steps of a virtual loop: each job is done a while after it is asked for, in turn."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from random import Random
from typing import Any, TypeVar

from tests.sim.raft_files import PowerLostError

R = TypeVar("R")

JOB_S = 0.004  # up to so long until a job is done; what comes meanwhile waits for the next


class CrashedError(BaseException):
    """The process is no more. Nobody may catch it."""


class SteppedThread:
    """Implements `fabric.store.voter_threads.JobThread`. Its steps belong to the process that made it."""

    def __init__(
        self, rng: Random, on_failure: Callable[[BaseException], None], on_crash: Callable[[], None]
    ) -> None:
        """`on_crash` is called when the process, or its machine, died in the middle of a job."""
        self._loop = asyncio.get_running_loop()
        self._home = copy_context()
        self._rng = rng
        self._on_failure = on_failure
        self._on_crash = on_crash
        self._jobs: deque[tuple[Callable[[], Any], Callable[[Any], None]]] = deque()

    def run(self, job: Callable[[], R], then: Callable[[R], None]) -> None:
        self._jobs.append((job, then))
        if len(self._jobs) == 1:
            self._do_soon()

    def _do_soon(self) -> None:
        self._loop.call_later(self._rng.random() * JOB_S, self._step, context=self._home.copy())

    def _step(self) -> None:
        if not self._jobs:
            return  # closed meanwhile
        job, then = self._jobs[0]
        try:
            result = job()
        except (CrashedError, PowerLostError):
            self._on_crash()
            return
        except Exception as error:
            self._loop.call_soon(self._on_failure, error, context=self._home.copy())
        else:
            self._loop.call_soon(then, result, context=self._home.copy())
        self._jobs.popleft()
        if self._jobs:
            self._do_soon()

    async def close(self) -> None:
        while self._jobs:
            job, _ = self._jobs.popleft()
            job()
