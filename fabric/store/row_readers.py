"""Reads of a voter's rows: a few threads on read-only connections, each read in one snapshot of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from fabric.core.queries import Query
from fabric.store.query import answer
from fabric.store.sqlite import copy_database, open_readers, raw

R = TypeVar("R")
T = TypeVar("T")

READERS = 3


class RowReaders:
    """Beside the writer, which they never hold up. `close` once."""

    def __init__(self, path: Path) -> None:
        self.engine = open_readers(path, READERS)
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="voter-reader")

    async def read(self, query: Query[T]) -> T:
        """Raises MarkerNotFoundError, BadFilterError."""
        return await self.run(lambda: self._read(query))

    async def copy(self, to: Path) -> None:
        """The rows as they are now, in one read, as a database of their own. Raises sqlite3.Error."""
        await self.run(lambda: self._copy(to))

    async def run(self, job: Callable[[], R]) -> R:
        """Does `job` on one of the threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, job)

    async def close(self) -> None:
        await asyncio.to_thread(self._threads.shutdown)
        self.engine.dispose()

    def _read(self, query: Query[T]) -> T:
        with self.engine.connect() as connection, connection.begin():
            return answer(connection, query)

    def _copy(self, to: Path) -> None:
        with self.engine.connect() as connection:
            copy_database(raw(connection), to)
