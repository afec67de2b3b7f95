"""Notices that the event loop does not turn: measures it, says where it hangs, and in the end ends the
process.

Three watchers, each for what the one before it cannot see. The loop's own tick measures how late it is. A
thread beside it sees a loop that does not tick at all, writes down what the main thread is doing, and ends
the process when that lasts, so that its supervisor starts it again. And the service manager, told by the
tick that all is well, restarts a process that cannot even run that thread: stopped, or in C code that holds
the interpreter.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from fabric.runtime.sd_notify import WATCHDOG, ServiceManager

log = logging.getLogger(__name__)

EXIT_STUCK = 70  # sysexits.h EX_SOFTWARE; what the agent's supervisor and log show for this and nothing else
STACK_FRAMES_MAX = 40
SAY_TIMEOUT_S = 5.0  # the log itself may be what hangs


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchdogConfig:
    tick_s: float = 0.5  # the loop's; ten a second were a quarter of an idle agent's turns
    late_ms: int = 250  # what counts as a stall; membership forgives others as much (design/gossip.md 4.4)
    check_s: float = 0.5  # the thread's
    stuck_s: float = 2.0  # then the main thread's stack is logged
    deadly_s: float = 60.0  # then the process ends: far above any stall it would survive

    def __post_init__(self) -> None:
        if not 0 < self.tick_s <= self.check_s < self.stuck_s < self.deadly_s:
            raise ValueError("need 0 < tick_s <= check_s < stuck_s < deadly_s")


@dataclass(frozen=True, slots=True)
class LoopLag:
    """How late the loop's own timer fired, in milliseconds: what every callback had to wait at that
    moment."""

    last_ms: int = 0
    max_ms: int = 0  # since the start
    stalls: int = 0  # ticks later than `late_ms`
    stuck: int = 0  # times it did not turn for `stuck_s`


class LoopWatchdog:
    """`start` and `close` on the loop's thread. `end` must not return."""

    def __init__(
        self,
        config: WatchdogConfig | None = None,
        manager: ServiceManager | None = None,
        end: Callable[[int], None] = os._exit,
    ) -> None:
        self._config = config or WatchdogConfig()
        self._manager = manager or ServiceManager()
        self._end = end
        self._lag = LoopLag()
        self._stuck_times = 0  # written by the thread alone
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = 0.0
        self._ticks = 0
        self._told_s = 0.0
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def lag(self) -> LoopLag:
        lag = self._lag
        return LoopLag(lag.last_ms, lag.max_ms, lag.stalls, self._stuck_times)

    def start(self) -> None:
        assert self._thread is None, "start once"
        self._loop = asyncio.get_running_loop()
        self._watched = threading.get_ident()
        self._arm()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Idempotent. The thread ends by itself soon after."""
        self._closed.set()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- on the loop

    def _arm(self) -> None:
        self._due_s = self._loop.time() + self._config.tick_s
        self._timer = self._loop.call_at(self._due_s, self._tick)

    def _tick(self) -> None:
        now_s = self._loop.time()
        lag_ms = int((now_s - self._due_s) * 1_000)
        self._ticks += 1
        is_late = lag_ms > self._config.late_ms
        self._lag = LoopLag(lag_ms, max(lag_ms, self._lag.max_ms), self._lag.stalls + is_late)
        if is_late:
            log.warning("event loop was late", extra={"lag_ms": lag_ms})
        limit_s = self._manager.watchdog_s
        if limit_s is not None and now_s - self._told_s >= limit_s / 4:
            self._told_s = now_s
            self._manager.tell(WATCHDOG)
        self._arm()

    # -- on the thread

    def _watch(self) -> None:
        """Counts only time it was awake itself: a process that was stopped, or whose interpreter was held,
        and goes on now, was not stuck in its own doing and is given the time to catch up."""
        config = self._config
        seen, stuck_s, is_told = self._ticks, 0.0, False
        last_s = time.monotonic()
        while not self._closed.wait(config.check_s):
            now_s = time.monotonic()
            awake_s, last_s = min(now_s - last_s, 2 * config.check_s), now_s
            if self._ticks != seen:
                if is_told:
                    _say(lambda: log.warning("event loop turns again"))
                seen, stuck_s, is_told = self._ticks, 0.0, False
                continue
            stuck_s += awake_s
            if stuck_s >= config.stuck_s and not is_told:
                is_told = True
                self._stuck_times += 1
                self._say_stuck(stuck_s)
            if stuck_s >= config.deadly_s:
                self._die(stuck_s)
                return

    def _say_stuck(self, stuck_s: float) -> None:
        stack = self._stack()
        _say(lambda: log.error("event loop stuck", extra={"seconds": round(stuck_s, 1), "stack": stack}))

    def _die(self, stuck_s: float) -> None:
        stack = self._stack()

        def last_words() -> None:
            log.critical(
                "event loop stuck, the process ends",
                extra={"seconds": round(stuck_s, 1), "exit": EXIT_STUCK, "stack": stack},
            )
            for handler in logging.getLogger().handlers:
                handler.flush()

        _say(last_words)
        self._end(EXIT_STUCK)

    def _stack(self) -> str:
        """What the watched thread is doing, innermost first: a log field may be cut at its end."""
        frame = sys._current_frames().get(self._watched)
        frames = reversed(traceback.extract_stack(frame, STACK_FRAMES_MAX)) if frame is not None else ()
        return " < ".join(f"{at.name} ({at.filename}:{at.lineno})" for at in frames)


def _say(words: Callable[[], None]) -> None:
    """In a thread of its own, for the stuck one may hold the log's lock, or the log itself be what hangs."""
    speaker = threading.Thread(target=words, name="watchdog's words", daemon=True)
    speaker.start()
    speaker.join(SAY_TIMEOUT_S)
