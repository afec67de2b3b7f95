"""The same handlers in PostgreSQL: one SERIALIZABLE transaction for each command.

The position row is the sequence: each command takes the next index from it and holds the row until it
commits, so indices become visible in order, as the log's do. A conflict with another process (40001,
40P01) is tried again with jitter; a connection lost at commit is settled by the request row, which says
whether the command was applied. Reads are REPEATABLE READ, READ ONLY. Time is the database's own clock
unless one is given: several agents then share one clock (DESIGN section 5).

Listeners hear of commands proposed here. Telling other processes (LISTEN/NOTIFY) comes when more than
one conductor shares a database.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

import sqlalchemy
from sqlalchemy import BigInteger, Connection, Engine, cast, extract, func, text, update
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from fabric.core.queries import Applied, AppliedEntry, Consistency, Listener, Query
from fabric.errors import CommandRejectedError
from fabric.store import tables as t
from fabric.store.apply import Entry, Outcome, apply_group
from fabric.store.command_entry import REQUEST_ID_BYTES_MAX
from fabric.store.errors import StoreBusyError, StoreFailedError, StoreStoppedError
from fabric.store.framing import hash_bytes
from fabric.store.listeners import Listeners
from fabric.store.query import answer
from fabric.store.schema import create_schema
from proto.commands import Command, decode_command, encode_command
from proto.errors import WireError
from proto.ids import LogIndex, RequestId

log = logging.getLogger(__name__)

T = TypeVar("T")

IN_FLIGHT_MAX = 8_192
READERS = 4
ATTEMPTS_MAX = 20  # of one command
BACKOFF_MS = 2  # before the second attempt, doubled each time, with full jitter
BACKOFF_MS_MAX = 200
CONNECT_TIMEOUT_S = 10
STATEMENT_TIMEOUT_MS = 30_000
RETRIED = frozenset({"40001", "40P01"})  # serialization failure, deadlock
SCHEMA_LOCK = 0x46414252  # advisory: one process at a time makes the tables


class WallClock(Protocol):
    def wall_ms(self) -> int: ...


class PostgresState:
    """A HardState in a PostgreSQL database. `open` before use, `close` after. One event loop."""

    def __init__(
        self, url: str, *, clock: WallClock | None = None, in_flight_max: int = IN_FLIGHT_MAX
    ) -> None:
        """`url`: "postgresql+psycopg://USER@HOST/DATABASE". `clock` None: the database's."""
        self._url = url
        self._clock = clock
        self._in_flight_max = in_flight_max
        self._in_flight = 0
        self._listeners = Listeners()
        self._applied_index = LogIndex(0)
        self._engine: Engine | None = None
        self._writer: ThreadPoolExecutor | None = None
        self._readers: ThreadPoolExecutor | None = None

    @property
    def applied_index(self) -> LogIndex:
        """The highest index this process has seen."""
        return self._applied_index

    async def open(self) -> None:
        """Connects, makes the tables where there are none.

        Raises: StoreStoppedError (the database cannot be used), SchemaVersionError.
        """
        self._loop = asyncio.get_running_loop()
        engine = sqlalchemy.create_engine(
            self._url,
            pool_size=READERS + 1,
            max_overflow=0,
            pool_pre_ping=True,
            hide_parameters=True,  # errors reach the log, and parameters hold hashes, keys and user data
            connect_args={
                "connect_timeout": CONNECT_TIMEOUT_S,
                "options": f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c timezone=UTC",
            },
        )
        self._write_engine = engine.execution_options(isolation_level="SERIALIZABLE")
        self._read_engine = engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        try:
            await asyncio.to_thread(self._prepare, engine)
        except SQLAlchemyError as error:
            engine.dispose()
            raise StoreStoppedError(f"the database cannot be used: {_plain(error)}") from error
        except BaseException:
            engine.dispose()
            raise
        self._engine = engine
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="postgres-writer")
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="postgres-reader")

    def _prepare(self, engine: Engine) -> None:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": SCHEMA_LOCK})
            create_schema(connection)
            row = connection.execute(sqlalchemy.select(t.position.c.applied_index)).one()
        self._applied_index = LogIndex(row.applied_index)

    async def close(self) -> None:
        """Ends what is in flight. Calling it twice is the same as once."""
        for pool in (self._writer, self._readers):
            if pool is not None:
                await asyncio.to_thread(pool.shutdown)
        self._writer = self._readers = None
        if self._engine is not None:
            await asyncio.to_thread(self._engine.dispose)
            self._engine = None

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        return self._listeners.add(listener)

    async def propose(self, command: Command, *, request_id: RequestId) -> Applied:
        """Committed when it returns. See HardState.

        Raises: CommandRejectedError, StoreBusyError and StoreStoppedError (not done),
        StoreFailedError (unknown).
        """
        if self._writer is None:
            raise StoreStoppedError("the store is closed")
        if len(request_id.encode()) > REQUEST_ID_BYTES_MAX:
            raise CommandRejectedError("invalid", "The request id is too long.")
        if self._in_flight >= self._in_flight_max:
            raise StoreBusyError(f"{self._in_flight} commands are in flight already")
        try:
            body = encode_command(command)
        except WireError as error:
            raise CommandRejectedError(
                "invalid", f"The request is too large or malformed ({error})."
            ) from error
        self._in_flight += 1
        future = self._loop.run_in_executor(self._writer, self._commit, body, request_id)
        future.add_done_callback(lambda done: self._done(done, command))
        # A cancelled caller does not cancel its command.
        outcome = await asyncio.shield(future)
        if outcome.rejection is not None:
            raise CommandRejectedError(*outcome.rejection)
        return Applied(outcome.index, outcome.result, outcome.replayed)

    def _done(self, future: asyncio.Future[Outcome], command: Command) -> None:
        """On the loop, in commit order, before the proposer goes on."""
        self._in_flight -= 1
        if future.cancelled() or future.exception() is not None:
            return
        outcome = future.result()
        self._applied_index = max(self._applied_index, outcome.index)
        if outcome.rejection is None and not outcome.replayed:
            applied = Applied(outcome.index, outcome.result)
            self._listeners.tell([AppliedEntry(outcome.index, command, applied)])

    async def read(self, query: Query[T], *, consistency: Consistency = Consistency.SESSION) -> T:
        """Every consistency reads the database itself. Raises MarkerNotFoundError, BadFilterError,
        StoreStoppedError."""
        if self._readers is None:
            raise StoreStoppedError("the store is closed")
        try:
            return await self._loop.run_in_executor(self._readers, self._read, query)
        except SQLAlchemyError as error:
            raise StoreStoppedError(f"the database did not answer: {_plain(error)}") from error

    def _read(self, query: Query[T]) -> T:
        with self._read_engine.connect() as connection, connection.begin():
            return answer(connection, query)

    # The writer thread.

    def _commit(self, body: bytes, request_id: RequestId) -> Outcome:
        """One command, as many attempts as it takes up to ATTEMPTS_MAX.

        Raises: StoreBusyError (not done), StoreFailedError (unknown).
        """
        in_doubt = False  # an earlier attempt may have been committed
        for attempt in range(ATTEMPTS_MAX):
            if attempt:
                ceiling = min(BACKOFF_MS << min(attempt - 1, 16), BACKOFF_MS_MAX)
                time.sleep(random.uniform(0, ceiling) / 1_000)  # noqa: S311  # jitter, not a secret
            try:
                outcome = self._attempt(body, request_id)
            except DBAPIError as error:
                code = getattr(error.orig, "sqlstate", None)
                if code in RETRIED:
                    continue
                log.warning("database error", extra={"sqlstate": code, "attempt": attempt})
                if not _is_lost(error):
                    raise _failed(in_doubt, error) from error
                in_doubt = True
                continue
            except SQLAlchemyError as error:
                raise _failed(in_doubt, error) from error
            if in_doubt and outcome.replayed:  # it was our own attempt that was committed
                return Outcome(outcome.index, outcome.result, outcome.rejection)
            return outcome
        if in_doubt:
            raise StoreFailedError("the database connection was lost; the command may have been done")
        raise StoreBusyError(f"the command met {ATTEMPTS_MAX} conflicts with others")

    def _attempt(self, body: bytes, request_id: RequestId) -> Outcome:
        with self._write_engine.connect() as connection, connection.begin() as transaction:
            index, time_ms = self._take_index(connection)
            entry = Entry(index, time_ms, request_id, hash_bytes(body), decode_command(body))
            outcome = apply_group(connection, [entry])[0]
            if outcome.replayed:
                transaction.rollback()  # nothing happened: no index is used up
            return outcome

    def _take_index(self, connection: Connection) -> tuple[LogIndex, int]:
        now = (
            cast(extract("epoch", func.clock_timestamp()) * 1_000, BigInteger)
            if self._clock is None
            else self._clock.wall_ms()
        )
        p = t.position.c
        row = connection.execute(
            update(t.position)
            .values(applied_index=p.applied_index + 1, time_ms=func.greatest(p.time_ms, now))
            .returning(p.applied_index, p.time_ms)
        ).one()
        return LogIndex(row.applied_index), int(row.time_ms)


def _is_lost(error: DBAPIError) -> bool:
    """The connection went, perhaps after the commit: no SQL state, connection (08) or operator (57)."""
    code = getattr(error.orig, "sqlstate", None)
    return error.connection_invalidated or code is None or code.startswith(("08", "57"))


def _failed(in_doubt: bool, error: SQLAlchemyError) -> Exception:
    if in_doubt:
        return StoreFailedError(f"the database failed: {_plain(error)}")
    return StoreStoppedError(f"the database refused: {_plain(error)}")


def _plain(error: SQLAlchemyError) -> str:
    """The first line of it: no statement and no parameters, which may hold secrets."""
    return str(getattr(error, "orig", None) or type(error).__name__).splitlines()[0][:200]
