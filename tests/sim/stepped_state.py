"""The real voter, alone in its group, with its threads run as steps of the loop, and with places to die in.

Log bytes, SQLite, handlers and answers are the product's own. The log is on a disk with a page cache
(`raft_files`): a crash is a power cut for it, and for the tables' commits since their last checkpoint.
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

from sqlalchemy import select

from fabric.core.queries import Applied
from fabric.core.raft.configuration import Configuration
from fabric.core.raft.pipeline import Fold, Write
from fabric.store.lock import LOCK_FILE
from fabric.store.lone_voter import ALONE, NoPeers
from fabric.store.plain_rows import carried_tables
from fabric.store.sqlite import DATABASE
from fabric.store.voter_engine import Clock, VoterEngine
from fabric.store.voter_log import Restored
from fabric.store.voter_tables import Folded
from proto.commands import Command
from proto.ids import RequestId
from tests.sim.raft_files import SimFiles
from tests.sim.stepped_thread import CrashedError, SteppedThread

SEGMENT_BYTES = (16 << 10, 4 << 20)  # rolled and compacted within one short life, or whole to its end
TORN_STEPS_MAX = 6  # of the disk, until the power fails: in this write, or in one of the next


class CrashPoint(StrEnum):
    """Where in the life of a group the process dies."""

    BEFORE_LOG = "before_log"
    TORN_LOG = "torn_log"
    AFTER_LOG = "after_log"
    BEFORE_ANSWER = "before_answer"


class SteppedState(VoterEngine):
    def __init__(
        self,
        directory: Path,
        files: SimFiles,
        *,
        rng: Random,
        clock: Clock,
        segment_bytes: int,
        on_crash: Callable[[], None],
    ) -> None:
        super().__init__(
            directory,
            ALONE,
            founders=Configuration(frozenset({ALONE})),
            clock=clock,
            rng=rng,
            peers=NoPeers(),
            segment_bytes=segment_bytes,
            files=files,
            start_thread=lambda _, on_failure: SteppedThread(rng, on_failure, on_crash),
        )
        self.crash_at: CrashPoint | None = None
        self._disk = files
        self._small_segment_bytes = segment_bytes

    async def open(self) -> None:
        self._home = copy_context()  # what it does belongs to the process that opened it
        await super().open()

    def _open(self) -> Restored:
        restored = super()._open()
        self._log._segment_bytes = self._small_segment_bytes  # the product's smallest would never be full
        return restored

    async def propose(self, command: Command, *, request_id: RequestId) -> Applied:
        """Whoever asks a dead process waits."""
        asked = super().propose(command, request_id=request_id)
        loop = asyncio.get_running_loop()
        return await asyncio.shield(loop.create_task(asked, context=self._home.copy()))

    def _write(self, write: Write) -> None:
        self._crash_if(CrashPoint.BEFORE_LOG)
        if self.crash_at is CrashPoint.TORN_LOG:
            self._disk.lose_power_after(self._rng.randrange(TORN_STEPS_MAX))
        super()._write(write)

    def _fold(self, fold: Fold) -> list[Folded | None]:
        self._crash_if(CrashPoint.AFTER_LOG)
        folded = super()._fold(fold)
        self._crash_if(CrashPoint.BEFORE_ANSWER)
        return folded

    def _crash_if(self, point: CrashPoint) -> None:
        if self.crash_at is point:
            raise CrashedError

    def as_the_crash_left_it(self, into: Path) -> None:
        """Its files as the next life finds them: no lock, whatever the disk had of the log, the tables with
        or without their WAL."""
        shutil.copytree(self._directory, into, ignore=shutil.ignore_patterns(LOCK_FILE))
        if self._rng.random() < 0.5:  # commits since the last checkpoint were never flushed
            for end in ("-wal", "-shm"):
                (into / f"{DATABASE}{end}").unlink(missing_ok=True)
        self._disk.crash(self._rng)

    def whole_log(self) -> SimFiles | None:
        """A copy of the log alone. None: its beginning was compacted away."""
        return None if self._need_node().log.mark.index else self._disk.copy()

    def dump(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table, but for the position, which a replay may reach in other steps."""
        with self._rows.engine.connect() as connection, connection.begin():
            return {
                table.name: sorted((tuple(row) for row in connection.execute(select(table))), key=repr)
                for table in carried_tables(self.level)
            }

    async def let_go(self) -> None:
        """After a crash: closes what the dead process had open. Its directory must not be used again."""
        await self._rows.close()
        self._taken.close()


@contextmanager
def no_flushes() -> Iterator[None]:
    """Nothing is flushed to the machine's own disk: power is cut in the simulation only."""

    def flush(_descriptor: int) -> None: ...

    real = os.fsync, os.fdatasync
    os.fsync = os.fdatasync = flush  # type: ignore[assignment]
    try:
        yield
    finally:
        os.fsync, os.fdatasync = real  # type: ignore[assignment]
