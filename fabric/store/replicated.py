"""The embedded engine: every command into the log, fsynced in groups, applied to SQLite, then answered.

Theory of operation. `propose` puts a command into a bounded inbox and waits. One writer thread takes all
that is there (what arrived while the last group was synced is the next group: natural batching), stamps it,
appends it to the log, fdatasyncs once, applies the group in one SQLite transaction together with
`applied_index`, commits, and only then tells the loop. So whoever has an answer has it from durable state,
and a crash between log and tables is repaired by `open`, which applies what the tables lack. SQLite runs
with synchronous=NORMAL: after a power loss it may be behind the log, never ahead. Reads run in a few
threads on read-only connections, each in one snapshot; they see everything applied before they began.

After a failed write or fsync the store is stopped for good: what was in flight is UNKNOWN, what comes
later is refused NOT_DONE. Opening the directory again shows what is really there.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from sqlalchemy import Connection, select
from sqlalchemy.exc import SQLAlchemyError

from fabric.core.queries import Applied, AppliedEntry, Consistency, Listener, Query
from fabric.errors import CommandRejectedError
from fabric.store import tables as t
from fabric.store.apply import Entry, Outcome, advance, apply_group
from fabric.store.errors import (
    LogCorruptError,
    LogFailedError,
    StoreBusyError,
    StoreFailedError,
    StoreStoppedError,
)
from fabric.store.framing import hash_bytes
from fabric.store.listeners import Listeners
from fabric.store.lock import DirectoryLock
from fabric.store.log_record import REQUEST_ID_BYTES_MAX, LogEntry
from fabric.store.log_store import SEGMENT_BYTES, LogStore
from fabric.store.query import answer
from fabric.store.schema import create_schema
from fabric.store.settle import settle
from fabric.store.sqlite import checkpoint, open_readers, open_writer
from proto.commands import Command, decode_command, encode_command
from proto.errors import WireError
from proto.ids import LogIndex, RequestId, Term

log = logging.getLogger(__name__)

T = TypeVar("T")

IN_FLIGHT_MAX = 8_192  # design/log.md section 4, item 11
GROUP_ENTRIES_MAX = 512
GROUP_BYTES_MAX = 4 << 20
READERS = 3
DISK_FREE_BYTES_MIN = 64 << 20  # below it nothing new is taken: logs, rows and images need room to end well
TERM = Term(1)  # one voter: no elections yet
DATABASE = "state.sqlite"


class WallClock(Protocol):
    def wall_ms(self) -> int: ...


@dataclass(slots=True)
class _Proposal:
    command: Command
    body: bytes
    request_id: RequestId
    future: asyncio.Future[Applied]


class ReplicatedState:
    """A HardState on this node's disk. `open` before use, `close` after. One event loop."""

    def __init__(
        self,
        directory: Path,
        *,
        clock: WallClock,
        segment_bytes: int = SEGMENT_BYTES,
        in_flight_max: int = IN_FLIGHT_MAX,
        disk_free_bytes_min: int = DISK_FREE_BYTES_MIN,
        on_failure: Callable[[BaseException], None] | None = None,
    ) -> None:
        """`on_failure` is called on the loop once, when the store stopped itself."""
        self._directory = directory
        self._clock = clock
        self._in_flight_max = in_flight_max
        self._disk_free_bytes_min = disk_free_bytes_min
        self._on_failure = on_failure
        self._log = LogStore(directory / "log", segment_bytes=segment_bytes)
        self._lock = DirectoryLock(directory)
        self._listeners = Listeners()
        self._inbox: deque[_Proposal] = deque()
        self._wake = threading.Condition()
        self._in_flight = 0
        self._closing = False
        self._failure: BaseException | None = None
        self._applied_index = LogIndex(0)
        self._time_ms = 0
        self._durable_rows_index = 0  # the tables hold everything up to it, fsynced
        self._writer: threading.Thread | None = None
        self._connection: Connection | None = None
        self._readers: ThreadPoolExecutor | None = None

    @property
    def applied_index(self) -> LogIndex:
        return self._applied_index

    @property
    def failure(self) -> BaseException | None:
        """Why the store stopped itself; None while it works."""
        return self._failure

    async def open(self) -> None:
        """Takes the directory, repairs what a crash left, applies what the tables lack.

        Raises: StoreLockedError, LogCorruptError, SchemaVersionError, OSError.
        """
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._open)
        self._writer = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._writer.start()

    def _open(self) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock.acquire()
        try:
            self._connection = open_writer(self._directory / DATABASE)
            with self._connection.begin():
                create_schema(self._connection)
            self._recover(self._connection)
        except BaseException:
            self._release()
            raise
        self._readers_engine = open_readers(self._directory / DATABASE, READERS)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="store-reader")

    def _recover(self, connection: Connection) -> None:
        with connection.begin():
            position = connection.execute(select(t.position)).one()
        self._applied_index = LogIndex(position.applied_index)
        self._time_ms = position.time_ms
        self._log.open(durable_index=position.applied_index)
        self._check_same_history(bytes(position.applied_hash))
        self._time_ms = max(self._time_ms, self._log.last_time_ms)
        missing: list[tuple[Entry, bytes]] = []
        count = 0
        if self._log.last_index > position.applied_index:
            for record in self._log.read(position.applied_index + 1):
                missing.append((_entry_of(record.entry), record.hash))
                count += 1
                if len(missing) == GROUP_ENTRIES_MAX:
                    self._apply(connection, missing)
                    missing.clear()
        if missing:
            self._apply(connection, missing)
        if count:
            log.info(
                "log entries applied after restart", extra={"entries": count, "index": self._applied_index}
            )

    def _check_same_history(self, applied_hash: bytes) -> None:
        """The tables must be of this very log. Raises LogCorruptError."""
        index = self._applied_index
        if index < self._log.first_index:
            if index + 1 < self._log.first_index:
                raise LogCorruptError(
                    f"{self._directory}: the tables end at entry {index}, the log starts at "
                    f"{self._log.first_index}. Restore the state directory from a backup"
                )
            return
        record = next(self._log.read(index))
        if record.hash != applied_hash:
            raise LogCorruptError(
                f"{self._directory}: the tables are not of this log (entry {index} differs). "
                "Restore the state directory from a backup"
            )

    async def close(self) -> None:
        """Ends what is in flight, then releases everything. Calling it twice is the same as once."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._writer is not None:
            await asyncio.to_thread(self._writer.join)
            self._writer = None
        if self._readers is not None:
            await asyncio.to_thread(self._readers.shutdown)
            self._readers = None
            self._readers_engine.dispose()
        self._release()

    def _release(self) -> None:
        if self._connection is not None:
            engine = self._connection.engine
            self._connection.close()
            engine.dispose()
            self._connection = None
        self._log.close()
        self._lock.release()

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        return self._listeners.add(listener)

    async def propose(self, command: Command, *, request_id: RequestId) -> Applied:
        """Durable and applied when it returns. See HardState.

        Raises: CommandRejectedError, StoreBusyError and StoreStoppedError (not done, both
        NoQuorumError), StoreFailedError (unknown, a DeadlineExceededError).
        """
        if len(request_id.encode()) > REQUEST_ID_BYTES_MAX:
            raise CommandRejectedError("invalid", "The request id is too long.")
        try:
            body = encode_command(command)
        except WireError as error:
            raise CommandRejectedError(
                "invalid", f"The request is too large or malformed ({error})."
            ) from error
        future: asyncio.Future[Applied] = self._loop.create_future()
        proposal = _Proposal(command, body, request_id, future)
        with self._wake:
            if self._failure is not None:
                raise StoreStoppedError(f"the store stopped: {self._failure}") from self._failure
            if self._closing or self._writer is None:
                raise StoreStoppedError("the store is closed")
            if self._in_flight >= self._in_flight_max:
                raise StoreBusyError(f"{self._in_flight} commands are in flight already")
            self._in_flight += 1
            self._inbox.append(proposal)
            self._wake.notify()
        # A cancelled caller does not cancel its command: it is in the log, or about to be.
        return await asyncio.shield(future)

    async def read(self, query: Query[T], *, consistency: Consistency = Consistency.SESSION) -> T:
        """With one voter every consistency is the same read. Raises MarkerNotFoundError, BadFilterError,
        StoreStoppedError."""
        if self._readers is None:
            raise StoreStoppedError("the store is closed")
        return await self._loop.run_in_executor(self._readers, self._read, query)

    def _read(self, query: Query[T]) -> T:
        with self._readers_engine.connect() as connection, connection.begin():
            return answer(connection, query)

    # The writer thread.

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._inbox and not self._closing:
                    self._wake.wait()
                if not self._inbox:
                    return
                group = self._take_group()
            try:
                self._write(group)
            except (LogFailedError, LogCorruptError, SQLAlchemyError, OSError, WireError) as error:
                self._fail(group, error)
                return
            except BaseException as error:  # a bug of ours: stop as for any failure, then say so
                self._fail(group, error)
                raise

    def _take_group(self) -> list[_Proposal]:
        group: list[_Proposal] = []
        size = 0
        while self._inbox and len(group) < GROUP_ENTRIES_MAX and size < GROUP_BYTES_MAX:
            proposal = self._inbox.popleft()
            size += len(proposal.body)
            group.append(proposal)
        return group

    def _write(self, group: list[_Proposal]) -> None:
        assert self._connection is not None
        if self._disk_is_low():
            low = "too little disk space is left on the conductor: free some and try again"
            self._post(group, [StoreBusyError(low) for _ in group], [])
            return
        segments = self._log.segment_count
        entries = self._stamp(group)
        hashes = self._log.append([entry for entry, _ in entries])
        outcomes = self._apply(
            self._connection,
            [(applied, record) for (_, applied), record in zip(entries, hashes, strict=True)],
        )
        self._answer(group, outcomes)
        if self._log.segment_count > segments:
            self._compact()

    def _stamp(self, group: list[_Proposal]) -> list[tuple[LogEntry, Entry]]:
        """Each command as it goes into the log and as it is applied."""
        self._time_ms = max(self._time_ms, self._clock.wall_ms())
        entries = []
        for index, proposal in enumerate(group, self._log.last_index + 1):
            body_hash = hash_bytes(proposal.body)
            at, request_id = LogIndex(index), proposal.request_id
            logged = LogEntry(at, TERM, self._time_ms, request_id, body_hash, proposal.body)
            # Decoded again, so that what is applied now is what a replay will apply.
            command = decode_command(proposal.body)
            entries.append((logged, Entry(at, self._time_ms, request_id, body_hash, command)))
        return entries

    def _apply(self, connection: Connection, entries: Sequence[tuple[Entry, bytes]]) -> list[Outcome]:
        last, last_hash = entries[-1]
        with connection.begin():
            outcomes = apply_group(connection, [entry for entry, _ in entries])
            advance(connection, index=last.index, time_ms=last.time_ms, record_hash=last_hash)
        self._applied_index = last.index
        return outcomes

    def _answer(self, group: list[_Proposal], outcomes: list[Outcome]) -> None:
        answers: list[Applied | BaseException] = []
        told: list[AppliedEntry] = []
        for proposal, outcome in zip(group, outcomes, strict=True):
            if outcome.rejection is not None:
                answers.append(CommandRejectedError(*outcome.rejection))
                continue
            applied = Applied(outcome.index, outcome.result, outcome.replayed)
            answers.append(applied)
            if not outcome.replayed:
                told.append(AppliedEntry(outcome.index, proposal.command, applied))
        self._post(group, answers, told)

    def _post(
        self,
        group: list[_Proposal],
        answers: Sequence[Applied | BaseException],
        told: Sequence[AppliedEntry],
    ) -> None:
        with self._wake:
            self._in_flight -= len(group)
        try:
            self._loop.call_soon_threadsafe(self._tell, group, answers, told)
        except RuntimeError:  # the loop is closed: nobody waits any more
            log.warning("answers dropped: the event loop is closed", extra={"entries": len(group)})

    def _tell(
        self,
        group: list[_Proposal],
        answers: Sequence[Applied | BaseException],
        told: Sequence[AppliedEntry],
    ) -> None:
        for proposal, value in zip(group, answers, strict=True):
            settle(proposal.future, value)
        self._listeners.tell(told)

    def _fail(self, group: list[_Proposal], error: BaseException) -> None:
        """Fail-stop. The group may be durable; what still waits has never left the inbox."""
        log.critical("store stopped", extra={"error": str(error)[:500], "entries": len(group)})
        with self._wake:
            self._failure = error
            waiting = list(self._inbox)
            self._inbox.clear()
        if self._on_failure is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._on_failure, error)
        held = "the store failed while it held this command; it may have been done"
        self._post(group, [StoreFailedError(held) for _ in group], [])
        self._post(waiting, [StoreStoppedError(f"the store stopped: {error}") for _ in waiting], [])

    def _disk_is_low(self) -> bool:
        disk = os.statvfs(self._directory)
        return disk.f_bavail * disk.f_frsize < self._disk_free_bytes_min

    def _compact(self) -> None:
        """Drops segments whose entries the tables hold durably."""
        assert self._connection is not None
        if checkpoint(self._connection):
            removed = self._log.compact(self._applied_index + 1)
            log.info("log compacted", extra={"segments": removed, "index": self._applied_index})


def _entry_of(logged: LogEntry) -> Entry:
    """Raises WireError for a command this program does not know: apply halts, it never skips."""
    command = decode_command(logged.command)
    return Entry(logged.index, logged.time_ms, logged.request_id, logged.body_hash, command)
