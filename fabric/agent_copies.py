"""Copies of the rows for whoever operates this node: made on its disk first, so that a reader who is slow
holds up neither the writer's checkpoints nor the database, and sent from there."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO

from fabric.agent_voter import VoterSide
from fabric.config import Config
from fabric.errors import FabricError, Outcome
from fabric.runtime.authority import ROOT_FILE
from fabric.runtime.clock import Clock
from fabric.runtime.events import EventLog
from fabric.store.files import DISK_FREE_BYTES_MIN
from fabric.store.life_swap import STATE

SCRATCH = "backup.tmp"  # in the node's directory


class NoCopyError(FabricError):
    """The rows cannot be copied here, or not now; the message says why."""

    code = "fabric.rows.no_copy"
    outcome = Outcome.NOT_DONE


class AgentCopies:
    """Implements `fabric.api.local.copies.CopyDesk`."""

    def __init__(
        self, config: Config, voter: Callable[[], VoterSide | None], clock: Clock, events: EventLog
    ) -> None:
        self._config = config
        self._directory = config.state_dir
        self._voter = voter
        self._clock = clock
        self._events = events
        self._one = threading.Lock()  # held by the thread that copies, also where nobody waits any more

    async def export(self) -> IO[bytes]:
        self._need_rows()
        copy = await asyncio.to_thread(self._make, self._export)
        self._events.add("rows.exported", self._config.node_name)
        return copy

    async def back_up(self, *, with_root_key: bool) -> IO[bytes]:
        if self._need_rows().voter_id is None:
            raise NoCopyError(
                "this fabric's rows live in a database: back that up by its own means, or use "
                "`fabric state export`"
            )
        root = self._directory / ROOT_FILE
        copy = await asyncio.to_thread(self._make, lambda out: self._back_up(out, with_root_key, root))
        fields = {"with_root_key": "yes" if with_root_key else "no"}
        self._events.add("rows.backed_up", self._config.node_name, fields)
        return copy

    def _need_rows(self) -> VoterSide:
        voter = self._voter()
        if voter is None or not voter.is_serving:
            raise NoCopyError(
                "this node holds no rows: `fabric leaders` and `fabric voters list` show who does"
            )
        return voter

    # In a thread.

    def _make(self, write: Callable[[IO[bytes]], None]) -> IO[bytes]:
        if not self._one.acquire(blocking=False):
            raise NoCopyError("another copy of the rows is being made; ask again when it is done")
        try:
            copy = tempfile.TemporaryFile(dir=self._directory)  # noqa: SIM115  # the caller's; gone with a crash
            try:
                write(copy)
                copy.seek(0)
            except BaseException:
                copy.close()
                raise
            return copy
        finally:
            self._one.release()

    def _export(self, out: IO[bytes]) -> None:
        from fabric.store.engine import is_embedded  # only here: hosts do without SQLAlchemy
        from fabric.store.rows_export import export_database, export_voter

        now_ms = self._clock.wall_ms()
        if is_embedded(self._config.state.url):
            self._need_room(_size(self._directory / STATE))
            export_voter(self._directory / STATE, out, now_ms=now_ms)
        else:
            export_database(self._config.state.url, out, now_ms=now_ms)

    def _back_up(self, out: IO[bytes], with_root_key: bool, root: Path) -> None:
        from fabric.store.backup import put_backup
        from fabric.store.incarnation import read_incarnation
        from fabric.store.sqlite import DATABASE

        state = self._directory / STATE
        self._need_room(2 * _size(state))
        put_backup(
            state / DATABASE,
            out,
            self._directory / SCRATCH,
            incarnation=read_incarnation(state),
            now_ms=self._clock.wall_ms(),
            root_key=root.read_bytes() if with_root_key else b"",
        )

    def _need_room(self, needed: int) -> None:
        """A copy must not be what fills the disk that the log is on."""
        free = shutil.disk_usage(self._directory).free
        if free - needed < DISK_FREE_BYTES_MIN:
            raise NoCopyError(
                f"a copy needs about {needed >> 20} MiB in {self._directory}, and {free >> 20} MiB are free"
            )


def _size(state: Path) -> int:
    """Of the rows' files, in bytes."""
    return sum(os.stat(path).st_size for path in state.glob("state.sqlite*"))
