"""The real store engine with its writer thread run as steps of the loop, and with places to die in.

Log bytes, SQLite, handlers and answers are the product's own; only who calls `_write` differs. A crash is a
power cut for the log: what was written but never flushed is gone, or there in part.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Any

from fabric.store.log_segment import HEADER_BYTES, segment_path
from fabric.store.replicated import DATABASE, ReplicatedState, WallClock
from sqlalchemy import select

from fabric.core.queries import Applied
from fabric.store import tables as t
from fabric.store.apply import Outcome
from fabric.store.files import write_at
from fabric.store.lock import LOCK_FILE
from proto.commands import Command
from proto.ids import RequestId

GROUP_S = 0.004  # up to so long commands wait for company in their group
SEGMENT_BYTES = (32 << 10, 4 << 20)  # rolled and compacted within one short life, or whole to its end


class CrashPoint(StrEnum):
    """Where in the life of a group the process dies."""

    BEFORE_LOG = "before_log"
    TORN_LOG = "torn_log"
    AFTER_LOG = "after_log"
    BEFORE_ANSWER = "before_answer"


class CrashedError(BaseException):
    """The process is no more. Nobody may catch it."""


class SteppedState(ReplicatedState):
    def __init__(
        self,
        directory: Path,
        *,
        rng: Random,
        clock: WallClock,
        segment_bytes: int,
        on_crash: Callable[[], None],
    ) -> None:
        super().__init__(directory, clock=clock)
        self.crash_at: CrashPoint | None = None
        self._rng = rng
        self._on_crash = on_crash
        self._is_step_due = False
        self._log._segment_bytes = segment_bytes
        self._write_frames = self._log._write
        self._log._write = self._write_log  # type: ignore[method-assign]
        self._flushed = (0, 0)  # segment, offset: up to here the log is on the disk for certain

    async def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._home = copy_context()  # steps belong to the process that opened it
        self._open()
        self._flushed = self._position()
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
        before = Flushes.count
        self._write_frames(frames)
        if Flushes.count > before:
            self._flushed = self._position()

    def _position(self) -> tuple[int, int]:
        return self._log._first_indices[-1], self._log._offset

    def _apply(self, connection: Any, entries: Any) -> list[Outcome]:
        self._crash_if(CrashPoint.AFTER_LOG)
        return super()._apply(connection, entries)

    def _answer(self, group: Any, outcomes: list[Outcome]) -> None:
        self._crash_if(CrashPoint.BEFORE_ANSWER)
        super()._answer(group, outcomes)

    def _crash_if(self, point: CrashPoint) -> None:
        if self.crash_at is point:
            raise CrashedError

    def as_the_crash_left_it(self, into: Path) -> None:
        """Its files as the next life finds them: no lock, no unflushed log, the tables with or without
        their WAL."""
        shutil.copytree(self._directory, into, ignore=shutil.ignore_patterns(LOCK_FILE))
        if self._rng.random() < 0.5:  # commits since the last checkpoint were never flushed
            for end in ("-wal", "-shm"):
                (into / f"{DATABASE}{end}").unlink(missing_ok=True)
        if self.crash_at is CrashPoint.TORN_LOG:
            return  # has decided itself what reached the disk
        segment, _ = self._position()
        offset = self._flushed[1] if self._flushed[0] == segment else HEADER_BYTES
        path = segment_path(into / "log", segment)
        size = path.stat().st_size
        os.truncate(path, offset)
        os.truncate(path, size)

    def without_tables(self, into: Path) -> bool:
        """A copy of the log alone. False: its beginning was compacted away."""
        shutil.copytree(self._directory / "log", into / "log")
        return self._log.first_index == 1

    def dump(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table, but for the position, which a replay may reach in other steps."""
        with self._readers_engine.connect() as connection, connection.begin():
            return {
                table.name: sorted((tuple(row) for row in connection.execute(select(table))), key=repr)
                for table in t.metadata.sorted_tables
                if table is not t.position
            }

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


class Flushes:
    """How often anything was flushed to disk."""

    count = 0


@contextmanager
def counted_flushes() -> Iterator[None]:
    """Flushes are counted instead of made: a simulated power cut asks only whether there was one."""

    def flush(_descriptor: int) -> None:
        Flushes.count += 1

    real = os.fsync, os.fdatasync
    os.fsync = os.fdatasync = flush  # type: ignore[assignment]
    try:
        yield
    finally:
        os.fsync, os.fdatasync = real  # type: ignore[assignment]
