"""Copies of the tables on their way: to voters that are behind the log, and from the leader to this one."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Protocol

from fabric.core.raft.log import SnapshotMark
from fabric.errors import FabricError
from fabric.store.program import PROGRAM, Program
from fabric.store.row_readers import RowReaders
from fabric.store.snapshot_files import SnapshotFiles, open_copy
from fabric.store.voter_tables import check_copy, mark_of_copy
from proto.ids import Term, VoterId

log = logging.getLogger(__name__)

PAUSE_S = 1.0  # before the next try: one costs a copy of all rows, and who refused may refuse again


class SnapshotSender(Protocol):
    async def send_snapshot(self, to: VoterId, term: Term, mark: SnapshotMark, path: Path) -> None:
        """Until it has it, or nothing will come of it. Raises FabricError, OSError."""
        ...


class VoterSnapshots:
    """Of one voter. Streams are tasks of its own; `close` ends them."""

    def __init__(
        self,
        files: SnapshotFiles,
        rows: RowReaders,
        sender: SnapshotSender,
        on_ended: Callable[[VoterId], None],
        program: Program = PROGRAM,
    ) -> None:
        """`on_ended` is called when a stream is over, whatever came of it."""
        self._program = program
        self._files = files
        self._rows = rows
        self._sender = sender
        self._on_ended = on_ended
        self._streams: set[asyncio.Task[None]] = set()

    def begin(self, to: VoterId, term: Term) -> None:
        """Copies the tables and streams them to `to`."""
        stream = asyncio.create_task(self._stream(to, term), name=f"snapshot to {to}")
        self._streams.add(stream)
        stream.add_done_callback(self._streams.discard)

    async def close(self) -> None:
        for stream in self._streams:
            stream.cancel()
        await asyncio.gather(*self._streams, return_exceptions=True)

    def incoming(self, sender: VoterId) -> Path:
        """Where one that begins to arrive is written. Raises OSError."""
        return self._files.unfinished(f"from-{sender}")

    async def keep(self, path: Path, mark: SnapshotMark) -> None:
        """It has arrived whole: durable under its mark when this returns. Raises OSError,
        SnapshotRefusedError, HaltedError (of a level that this program cannot apply)."""
        await asyncio.to_thread(self._keep, path, mark)

    def _keep(self, path: Path, mark: SnapshotMark) -> None:
        with closing(open_copy(path)) as source:
            check_copy(source, mark, self._program)
        self._files.keep(path, mark)

    async def _stream(self, to: VoterId, term: Term) -> None:
        try:
            path = self._files.unfinished(f"to-{to}")
            try:
                await self._rows.copy(path)
                mark = await self._rows.run(lambda: _mark_of_file(path))
                await self._sender.send_snapshot(to, term, mark, path)
            finally:
                path.unlink(missing_ok=True)
        except (FabricError, OSError, sqlite3.Error) as error:
            log.warning("snapshot not sent", extra={"to": to, "error": str(error)[:200]})
            await asyncio.sleep(PAUSE_S)
        finally:
            self._on_ended(to)


def _mark_of_file(path: Path) -> SnapshotMark:
    with closing(open_copy(path)) as source:
        return mark_of_copy(source)
