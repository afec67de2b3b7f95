"""What other agents say through the database (LISTEN, NOTIFY), heard on the event loop.

A word is a hint and nothing more: one may be lost with its connection, so whoever is told that it listens
(again) looks by itself what it missed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

log = logging.getLogger(__name__)

RETRY_S = 1.0
UNKNOWN = ("0A", "42")  # classes of SQL states: feature not supported, syntax error


class Notifications:
    def __init__(
        self,
        engine: Engine,
        channel: str,
        threads: Executor,
        *,
        listening: Callable[[], None],
        heard: Callable[[str], None],
    ) -> None:
        """`listening` is called each time a connection listens: what is said from then on is heard."""
        self._engine = engine
        self._channel = channel
        self._threads = threads
        self._listening = listening
        self._heard = heard
        self._error: type[BaseException] = engine.dialect.loaded_dbapi.Error

    async def run(self) -> None:
        """Until cancelled; returns where the database knows no LISTEN."""
        loop = asyncio.get_running_loop()
        while True:
            opening = loop.run_in_executor(self._threads, self._listen)
            try:
                connection = await asyncio.shield(opening)
            except asyncio.CancelledError:
                opening.add_done_callback(_close_when_open)
                raise
            except (SQLAlchemyError, self._error) as error:
                if (getattr(error, "sqlstate", None) or "").startswith(UNKNOWN):
                    log.warning("the database cannot notify; it is asked again and again instead")
                    return
                log.warning("not listening to the database", extra={"reason": type(error).__name__})
                await asyncio.sleep(RETRY_S)
                continue
            try:
                self._listening()
                await self._hear(loop, connection)
            finally:
                connection.close()
            log.warning("no longer listening to the database")

    def _listen(self) -> Any:
        """A driver's own connection, taken from the pool for good."""
        pooled = self._engine.raw_connection()
        connection: Any = pooled.driver_connection
        pooled.detach()
        try:
            connection.autocommit = True
            connection.execute(f"LISTEN {self._channel}")
        except BaseException:
            connection.close()
            raise
        return connection

    async def _hear(self, loop: asyncio.AbstractEventLoop, connection: Any) -> None:
        """Until the connection is lost."""
        lost = asyncio.Event()
        socket = connection.fileno()

        def readable() -> None:
            try:
                connection.pgconn.consume_input()
                while (word := connection.pgconn.notifies()) is not None:
                    self._heard(word.extra.decode("utf-8", "replace"))
            except self._error:
                loop.remove_reader(socket)
                lost.set()

        loop.add_reader(socket, readable)
        try:
            await lost.wait()
        finally:
            loop.remove_reader(socket)


def _close_when_open(opening: asyncio.Future[Any]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
