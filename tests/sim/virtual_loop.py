"""An event loop whose time is a number, and processes in it that can be killed between any two steps.

When nothing is ready, time jumps to the next timer: minutes of the fabric's life take milliseconds, and
the same seed gives the same order of everything. What would run in a thread runs in the loop's own and is
answered a little later, as a thread would.

A `Process` is a set of tasks told apart by a context variable that they inherit. `kill` is SIGKILL: from
then on no step of theirs runs, no `finally` either, and their listening sockets are gone. What they wrote
to files stays. `bury`, when the world has been judged, lets their tasks end in the ordinary way.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from random import Random
from typing import Any

THREAD_S = 0.002  # up to so long until a thread's answer is heard
BURY_S = 600.0

_PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)


class DeadlockError(Exception):
    """Nothing is ready and no timer is set: everybody waits for everybody."""


class Process:
    def __init__(self, name: str) -> None:
        self.name = name
        self.is_dead = False
        self.tasks: set[asyncio.Task[Any]] = set()
        self.servers: list[asyncio.Server] = []
        self._context = copy_context()
        self._context.run(_PROCESS.set, self)
        self._parked: list[tuple[Callable[..., object], tuple[Any, ...], Context]] = []

    def context(self) -> Context:
        """What runs in it belongs to this process."""
        return self._context.copy()

    def run(self, call: Callable[..., Any], *args: Any) -> Any:
        """Calls it as a part of this process."""
        return self.context().run(call, *args)

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work, context=self.context())

    def kill(self) -> None:
        self.is_dead = True
        for server in self.servers:
            server.close()

    async def bury(self) -> None:
        """Its tasks run to their end, cancelled. Nothing they do now counts."""
        self.is_dead = False
        loop = asyncio.get_running_loop()
        for callback, args, context in self._parked:
            loop.call_soon(callback, *args, context=context)
        self._parked.clear()
        for task in list(self.tasks):
            task.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=BURY_S)

    # What the loop asks before each of its steps.

    def step(self, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        if self.is_dead:
            self._parked.append((callback, args, copy_context()))
        else:
            callback(*args)

    def tick(self, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        """A timer. A dead process's has no meaning any more, not even for its burial."""
        if not self.is_dead:
            callback(*args)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self, rng: Random) -> None:
        self._now = 0.0
        self._rng = rng
        selector = _JumpingSelector()
        super().__init__(selector)
        selector.jump = self._jump
        self.set_task_factory(_make_task)

    def time(self) -> float:
        return self._now

    def _jump(self, seconds: float) -> None:
        self._now += seconds

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:
        context = copy_context() if context is None else context
        process = context.get(_PROCESS)
        if process is None:
            return super().call_soon(callback, *args, context=context)
        return super().call_soon(process.step, callback, args, context=context)

    def call_soon_threadsafe(
        self, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)  # there is one thread

    def call_at(
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        context = copy_context() if context is None else context
        process = context.get(_PROCESS)
        if process is None:
            return super().call_at(when, callback, *args, context=context)
        return super().call_at(when, process.tick, callback, args, context=context)

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        future = self.create_future()
        try:
            answer, error = func(*args), None
        except Exception as raised:
            answer, error = None, raised

        def tell() -> None:
            if future.cancelled():
                return
            if error is None:
                future.set_result(answer)
            else:
                future.set_exception(error)

        self.call_later(self._rng.random() * THREAD_S, tell)
        return future

    async def create_server(self, *args: Any, **options: Any) -> asyncio.Server:
        server = await super().create_server(*args, **options)
        process = _PROCESS.get()
        if process is not None:
            process.servers.append(server)
        return server


class _JumpingSelector(selectors.DefaultSelector):
    jump: Callable[[float], None]

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if timeout is None:
            raise DeadlockError
        self.jump(timeout)
        return []


def _make_task(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], context: Context | None = None
) -> asyncio.Task[Any]:
    process = (context or copy_context()).get(_PROCESS)
    task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, context=context)
    if process is not None:
        process.tasks.add(task)
        task.add_done_callback(process.tasks.discard)
    return task


def run_virtual(work: Coroutine[Any, Any, Any], rng: Random) -> Any:
    """Runs it to its end in a loop of its own."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(rng)) as runner:
        return runner.run(work)
