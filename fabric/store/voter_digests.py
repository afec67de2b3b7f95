"""Digests of this voter's rows as they were behind certain entries.

The rows are pinned by a read that begins before anything behind the entry is folded, and hashed beside the
writer.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import OrderedDict
from contextlib import closing
from pathlib import Path

from fabric.store.row_digest import digest_rows
from fabric.store.row_readers import RowReaders
from fabric.store.sqlite import open_reader
from proto.ids import LogIndex

log = logging.getLogger(__name__)

KEPT = 8


class VoterDigests:
    def __init__(self, path: Path, rows: RowReaders) -> None:
        """Made on the event loop; `path` is the database."""
        self._path = path
        self._rows = rows
        self._loop = asyncio.get_running_loop()
        self._taken: OrderedDict[LogIndex, bytes] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False

    def known(self, index: LogIndex) -> bytes | None:
        """None: not taken, not yet taken, or forgotten."""
        return self._taken.get(index)

    def pin(self, index: LogIndex) -> None:
        """On the thread that folds, right behind that entry. Raises sqlite3.Error."""
        reader = open_reader(self._path)
        reader.execute("BEGIN")
        reader.execute("SELECT applied_index FROM position").fetchone()  # the read begins here
        try:
            self._loop.call_soon_threadsafe(self._begin, index, reader)
        except RuntimeError:  # the loop is closed: nobody asks any more
            reader.close()

    async def close(self) -> None:
        self._is_closed = True
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, index: LogIndex, reader: sqlite3.Connection) -> None:
        if self._is_closed:
            reader.close()
            return
        task = asyncio.create_task(self._take(index, reader), name=f"digest of {index}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _take(self, index: LogIndex, reader: sqlite3.Connection) -> None:
        def take() -> bytes:
            with closing(reader):
                return digest_rows(reader)

        try:
            self._taken[index] = await self._rows.run(take)
        except sqlite3.Error as error:
            log.warning("digest not taken", extra={"index": index, "error": str(error)})
            return
        while len(self._taken) > KEPT:
            self._taken.popitem(last=False)
