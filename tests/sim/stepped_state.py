"""The real store engine with its writer thread run as steps of the loop, and with places to die in.

Log bytes, fsync, SQLite, handlers and answers are the product's own; only who calls `_write` differs.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from contextvars import copy_context
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Any

from fabric.core.queries import Applied
from fabric.store.apply import Entry, Outcome
from fabric.store.lock import LOCK_FILE
from fabric.store.log_segment import write_at
from fabric.store.replicated import ReplicatedState
from proto.commands import Command
from proto.ids import RequestId

GROUP_S = 0.004  # up to so long commands wait for company in their group


class CrashPoint(StrEnum):
    """Where in the life of a group the process dies."""

    BEFORE_LOG = "before_log"
    TORN_LOG = "torn_log"
    AFTER_LOG = "after_log"
    BEFORE_ANSWER = "before_answer"


class CrashedError(BaseException):
    """The process is no more. Nobody may catch it."""


class SteppedState(ReplicatedState):
    def __init__(self, directory: Path, *, rng: Random, on_crash: Callable[[], None], **options: Any) -> None:
        super().__init__(directory, **options)
        self.crash_at: CrashPoint | None = None
        self._rng = rng
        self._on_crash = on_crash
        self._is_step_due = False
        self._write_frames = self._log._write
        self._log._write = self._write_log  # type: ignore[method-assign]

    async def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._home = copy_context()  # steps belong to the process that opened it
        self._open()
        self._writer = _NoThread(self._drain)  # type: ignore[assignment]

    async def propose(self, command: Command, *, request_id: RequestId) -> Applied:
        if not self._is_step_due:
            self._is_step_due = True
            self._loop.call_later(self._rng.random() * GROUP_S, self._drain, context=self._home.copy())
        return await super().propose(command, request_id=request_id)

    def _drain(self) -> None:
        self._is_step_due = False
        while self._inbox:
            group = self._take_group()
            try:
                self._crash_if(CrashPoint.BEFORE_LOG)
                self._write(group)
            except CrashedError:
                self._on_crash()
                return
            except BaseException as error:
                self._fail(group, error)
                raise

    def _write_log(self, frames: list[bytes]) -> None:
        if self.crash_at is CrashPoint.TORN_LOG:
            data = b"".join(frames)
            kept = data[: self._rng.randrange(len(data) + 1)]
            hole = self._rng.randrange(len(kept) + 1) if self._rng.random() < 0.5 else 0
            write_at(self._log._descriptor, bytes(hole) + kept[hole:], self._log._offset)
        self._crash_if(CrashPoint.TORN_LOG)
        self._write_frames(frames)

    def _apply(self, connection: Any, entries: Any) -> list[Outcome]:
        self._crash_if(CrashPoint.AFTER_LOG)
        return super()._apply(connection, entries)

    def _answer(self, group: Any, outcomes: list[Outcome]) -> None:
        self._crash_if(CrashPoint.BEFORE_ANSWER)
        super()._answer(group, outcomes)

    def _crash_if(self, point: CrashPoint) -> None:
        if self.crash_at is point:
            raise CrashedError

    def let_go(self) -> None:
        """After a crash: closes what the dead process had open. Its directory must not be used again."""
        if self._readers is not None:
            self._readers.shutdown()
            self._readers = None
            self._readers_engine.dispose()
        self._release()


class _NoThread:
    def __init__(self, drain: Callable[[], None]) -> None:
        self.join = drain


def as_the_crash_left_it(directory: Path, into: Path) -> None:
    """The files as a killed process leaves them: no clean end of the WAL, no lock."""
    shutil.copytree(directory, into, ignore=shutil.ignore_patterns(LOCK_FILE))


__all__ = ["CrashPoint", "CrashedError", "Entry", "SteppedState", "as_the_crash_left_it"]
