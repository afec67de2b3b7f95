"""A database server reached over the network: connections, and transactions that are tried again.

PostgreSQL and CockroachDB ask for the same of who retries: the whole transaction from its start, whichever
statement was told, COMMIT included (PostgreSQL 13.5 "Serialization Failure Handling"; CockroachDB
"Transaction Retry Error Reference"). What is lost while COMMIT is under way may have been done; what is lost
before was not.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from enum import Enum, auto
from typing import TypeVar

import sqlalchemy
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from fabric.store.errors import StoreBusyError, StoreFailedError, StoreStoppedError

log = logging.getLogger(__name__)

T = TypeVar("T")

CONNECT_TIMEOUT_S = 5
STATEMENT_TIMEOUT_MS = 15_000
# An agent that is stopped in the middle of its transaction holds everybody's turn; the server takes it away.
# One whose machine is overloaded begins again: with 3 s, at fifteen busy processes a core, in vain for 20 s.
IDLE_TIMEOUT_MS = 5_000
SILENT_TIMEOUT_MS = 6_000  # of a server that acknowledges nothing any more
ATTEMPTS_MAX = 20  # of one transaction that meets conflicts
BACKOFF_MS = 2  # before the second attempt, doubled each time, with full jitter
BACKOFF_MS_MAX = 200
DEADLINE_MS = 20_000  # of one transaction whose server is away: as the embedded engine waits for a leader
READ_DEADLINE_MS = 3_000

CONFLICTS = frozenset({"40001", "40P01"})  # serialization failure, deadlock
UNKNOWN_COMPLETION = "40003"  # CockroachDB: "result is ambiguous"
IDLE_TIMEOUT = "25P03"


class Trouble(Enum):
    CONFLICT = auto()  # with another transaction; this one was not done
    LOST = auto()  # the server, or the way to it
    REFUSED = auto()  # it would be refused again


def trouble_of(error: DBAPIError) -> Trouble:
    code = getattr(error.orig, "sqlstate", None)
    if code in CONFLICTS:
        return Trouble.CONFLICT
    if error.connection_invalidated or code is None or code in (UNKNOWN_COMPLETION, IDLE_TIMEOUT):
        return Trouble.LOST
    # 08 connection, 57 operator intervention (shutdown, cancelled), 53300 too many connections
    return Trouble.LOST if code.startswith(("08", "57")) or code == "53300" else Trouble.REFUSED


class Database:
    """Made on any thread; each transaction runs on the thread that asks for it."""

    def __init__(self, url: str, *, writers: int, readers: int) -> None:
        """`url`: "postgresql+psycopg://USER@HOST/DATABASE". At most so many connections of each kind."""
        self.engine = _engine(url, writers, f"-c idle_in_transaction_session_timeout={IDLE_TIMEOUT_MS}")
        self._readers = _engine(url, readers, "")
        self._serial = self.engine.execution_options(isolation_level="SERIALIZABLE")
        self._plain = self.engine.execution_options(isolation_level="READ COMMITTED")
        self._snapshot = self._readers.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )

    def close(self) -> None:
        self.engine.dispose()
        self._readers.dispose()

    def serializable(self, work: Callable[[Connection], T | None], *, until: float) -> tuple[T | None, bool]:
        """What `work` gave in one SERIALIZABLE transaction, and whether an earlier attempt may have been
        committed, too. Where it gives None, all is rolled back. Until the monotonic time `until` (seconds) it
        is tried again where the server cannot be reached.

        Raises: StoreBusyError, StoreStoppedError (not done), StoreFailedError (unknown), what `work` raises.
        """
        return _Attempts(self._serial, until).run(work)

    def plain(self, work: Callable[[Connection], T], *, until: float) -> T:
        """READ COMMITTED: for single statements that compare and set one row. Raises as `serializable`."""
        value, _ = _Attempts(self._plain, until).run(work)
        assert value is not None, "only what is to be rolled back gives None"
        return value

    def read(self, work: Callable[[Connection], T]) -> T:
        """In one snapshot, read only. Raises StoreStoppedError, what `work` raises."""
        until = time.monotonic() + READ_DEADLINE_MS / 1_000
        attempt = 0
        while True:
            try:
                with self._snapshot.connect() as connection, connection.begin():
                    return work(connection)
            except DBAPIError as error:
                if trouble_of(error) is Trouble.REFUSED or time.monotonic() >= until:
                    raise StoreStoppedError(f"the database did not answer: {plain(error)}") from error
            except SQLAlchemyError as error:
                raise StoreStoppedError(f"the database did not answer: {plain(error)}") from error
            pause(attempt)
            attempt += 1


def _engine(url: str, connections: int, options: str) -> Engine:
    return sqlalchemy.create_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        pool_pre_ping=True,
        hide_parameters=True,  # errors reach the log, and parameters hold hashes, keys and user data
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_S,
            "tcp_user_timeout": SILENT_TIMEOUT_MS,
            "keepalives_idle": 2,
            "keepalives_interval": 2,
            "keepalives_count": 2,
            "options": f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c timezone=UTC {options}",
        },
    )


class _Attempts:
    """One transaction, as often as it takes."""

    def __init__(self, engine: Engine, until: float) -> None:
        self._engine = engine
        self._until = until
        self._is_in_doubt = False  # an attempt may have been committed
        self._is_committing = False
        self._conflicts = 0

    def run(self, work: Callable[[Connection], T | None]) -> tuple[T | None, bool]:
        attempt = 0
        while True:
            self._is_committing = False
            try:
                return self._once(work), self._is_in_doubt
            except DBAPIError as error:
                self._judge(error)
            except SQLAlchemyError as error:
                raise self._failed(error) from error
            pause(attempt)
            attempt += 1

    def _once(self, work: Callable[[Connection], T | None]) -> T | None:
        with self._engine.connect() as connection, connection.begin() as transaction:
            value = work(connection)
            if value is None:
                transaction.rollback()
                return None
            self._is_committing = True
            transaction.commit()
            return value

    def _judge(self, error: DBAPIError) -> None:
        """Returns where it is worth another attempt."""
        trouble = trouble_of(error)
        code = getattr(error.orig, "sqlstate", None)
        if trouble is Trouble.CONFLICT:
            self._conflicts += 1
            if self._conflicts < ATTEMPTS_MAX:
                return
            if self._is_in_doubt:
                raise self._failed(error) from error
            raise StoreBusyError(f"the command met {ATTEMPTS_MAX} conflicts with others") from error
        log.warning("database error", extra={"sqlstate": code, "reason": plain(error)})
        if trouble is Trouble.LOST and (self._is_committing or code == UNKNOWN_COMPLETION):
            self._is_in_doubt = True
        if trouble is Trouble.REFUSED or time.monotonic() >= self._until:
            raise self._failed(error) from error

    def _failed(self, error: SQLAlchemyError) -> Exception:
        if self._is_in_doubt:
            return StoreFailedError(f"the database was lost ({plain(error)}); the command may have been done")
        return StoreStoppedError(f"the database did not do it: {plain(error)}")


def pause(attempt: int) -> None:
    """On a thread of its own."""
    ceiling = min(BACKOFF_MS << min(attempt, 16), BACKOFF_MS_MAX)
    time.sleep(random.uniform(0, ceiling) / 1_000)  # noqa: S311  # jitter, not a secret


def plain(error: SQLAlchemyError) -> str:
    """The first line of it: no statement and no parameters, which may hold secrets."""
    text = str(getattr(error, "orig", None) or type(error).__name__)
    return (text.splitlines() or [type(error).__name__])[0][:200]
