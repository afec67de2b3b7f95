"""The same handlers in PostgreSQL, in SERIALIZABLE transactions, whoever proposes.

Several agents share one database and are equal. The position row is the sequence: each command takes the next
index from it. A transaction first waits for its turn and only then sees the rows: two that saw the same
position could not both be committed, and the later one would have to begin again. Where tables cannot be
locked, that happens. A turn takes along all that waits in this process (`command_turn.py`). What is lost at
COMMIT is settled by the request rows, which say what was applied.

Listeners hear every command in the order of its index, once, whoever proposed it: those of this process at
once, others from the feed, which NOTIFY says has grown. Reads are REPEATABLE READ, READ ONLY, and current.
Time is the database's own clock unless one is given: all agents then share one clock (DESIGN section 5).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from sqlalchemy import BigInteger, Connection, Engine, func, literal, text
from sqlalchemy.exc import SQLAlchemyError

from fabric.core.queries import Applied, AppliedEntry, Consistency, Listener, Query
from fabric.core.voters.levels import Levels
from fabric.errors import CommandRejectedError, FabricError, NotLeaderError
from fabric.store import role_lease
from fabric.store import tables as t
from fabric.store.abilities import Abilities, abilities_of
from fabric.store.apply import Outcome
from fabric.store.command_entry import REQUEST_ID_BYTES_MAX
from fabric.store.command_turn import BYTES_MAX, COMMANDS_MAX, Turn, Waiting, in_doubt, take_turn
from fabric.store.database import DEADLINE_MS, Database, plain
from fabric.store.errors import StoreBusyError, StoreFailedError, StoreStoppedError
from fabric.store.feed_follower import LOOK_S, FeedFollower
from fabric.store.held_lease import HeldLease, LeaseAnswer
from fabric.store.in_order import InOrder
from fabric.store.listeners import Listeners
from fabric.store.notifications import Notifications
from fabric.store.program import PROGRAM, Program
from fabric.store.query import answer
from fabric.store.role_lease import Now
from fabric.store.settle import settle
from fabric.store.shared_feed import CHANNEL, FeedPage, read_feed, read_position
from fabric.store.shared_incarnation import NONE, read_shared_incarnation
from fabric.store.shared_level import open_tables
from proto.commands import Command, decode_command, encode_command
from proto.commands.log import LevelRaise
from proto.errors import WireError
from proto.ids import LogIndex, NodeId, RequestId, new_request_id

log = logging.getLogger(__name__)

T = TypeVar("T")

IN_FLIGHT_MAX = 8_192
READERS = 4
WRITERS = 3  # commands, leases, and the one that listens
LEASED_ROLES = ("conductor",)
LEASE_DEADLINE_MS = 2_000  # of one question about a lease: asked again soon anyway
LEASE_TIMEOUT = text("SET LOCAL statement_timeout = 2000")
LEASE_WORD = "lease"  # said when one was given up
SCHEMA_LOCK = 0x46414252  # advisory: one process at a time makes the tables


class WallClock(Protocol):
    def wall_ms(self) -> int: ...


class PostgresState:
    """A HardState in a PostgreSQL database. `open` before use, `close` after. One event loop."""

    def __init__(
        self,
        url: str,
        *,
        clock: WallClock | None = None,
        in_flight_max: int = IN_FLIGHT_MAX,
        abilities: Abilities | None = None,
        program: Program = PROGRAM,
    ) -> None:
        """`url`: "postgresql+psycopg://USER@HOST/DATABASE". `clock` None: the database's. `abilities` None:
        the database is asked what it can."""
        self._url = url
        self._clock = clock
        self._in_flight_max = in_flight_max
        self._in_flight = 0
        self._waiting: deque[tuple[Waiting, asyncio.Future[Outcome]]] = deque()
        self._idle = asyncio.Event()  # nothing is in flight
        self._idle.set()
        self._is_closing = False
        self._program = program
        self._level = 0  # as this process last saw it
        self._listeners = Listeners()
        self._order = InOrder(self._listeners)
        self._follower = FeedFollower(self._order, self._feed_after, program.kinds)
        self._lease_listeners: list[Callable[[], None]] = []
        self._applied_index = LogIndex(0)
        self.incarnation = NONE  # of the fabric in it; known when it is open
        self._abilities = abilities or Abilities(can_notify=False, can_lock_tables=False)
        self._asks_abilities = abilities is None
        self._tag = secrets.token_hex(4)  # what this process says is not news to it
        self._database: Database | None = None
        self._writer: ThreadPoolExecutor | None = None
        self._leaser: ThreadPoolExecutor | None = None
        self._readers: ThreadPoolExecutor | None = None
        self._following: list[asyncio.Task[None]] = []

    @property
    def applied_index(self) -> LogIndex:
        """The highest index this process has seen."""
        return self._applied_index

    @property
    def level(self) -> int:
        return self._level

    @property
    def levels(self) -> Levels:
        return self._program.levels

    async def raise_level(self, to: int) -> Applied:
        """As `propose`: this process is the migrator. CommandRejectedError where another one was."""
        command = await asyncio.to_thread(self._program.raise_to, to)  # renders SQL
        return await self.propose(command, request_id=new_request_id())

    async def open(self) -> None:
        """Connects, makes the tables where there are none.

        Raises: StoreStoppedError (the database cannot be used), SchemaVersionError.
        """
        self._loop = asyncio.get_running_loop()
        database = Database(self._url, writers=WRITERS, readers=READERS)
        try:
            await asyncio.to_thread(self._prepare, database.engine)
        except SQLAlchemyError as error:
            database.close()
            raise StoreStoppedError(f"the database cannot be used: {plain(error)}") from error
        except BaseException:
            database.close()
            raise
        self._database = database
        self._is_closing = False
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="postgres-writer")
        self._leaser = ThreadPoolExecutor(1, thread_name_prefix="postgres-lease")
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="postgres-reader")
        self._order.begin(self._applied_index)
        self._following = [asyncio.create_task(self._follower.run(), name="feed follower")]
        if self._abilities.can_notify:
            listening = Notifications(
                database.engine, CHANNEL, self._readers, listening=self._on_listening, heard=self._on_word
            )
            self._following.append(asyncio.create_task(listening.run(), name="database notifications"))
        for task in self._following:
            task.add_done_callback(_ended)

    def _prepare(self, engine: Engine) -> None:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": SCHEMA_LOCK})
            self._level = open_tables(connection, self._program)
            t.shared_metadata.create_all(connection)
            for role in LEASED_ROLES:
                role_lease.make_role(connection, role)
            self._applied_index = read_position(connection)
            self.incarnation = read_shared_incarnation(connection)
        if self._asks_abilities:
            self._abilities = abilities_of(engine)

    async def close(self) -> None:
        """Ends what is in flight. Calling it twice is the same as once."""
        following, self._following = self._following, []
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
        self._is_closing = True
        await self._idle.wait()  # what is in flight has a deadline of its own
        pools = (self._writer, self._leaser, self._readers)
        self._writer = self._leaser = self._readers = None
        for pool in pools:
            if pool is not None:
                await asyncio.to_thread(pool.shutdown)
        if self._database is not None:
            await asyncio.to_thread(self._database.close)
            self._database = None

    async def catch_up(self) -> None:
        """See HardState. Raises StoreStoppedError, StoreFailedError."""
        await self._follower.catch_up()

    @property
    def passed_over(self) -> int:
        """See HardState: what the feed had lost, or this program does not understand."""
        return self._order.passed_over

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        return self._listeners.add(listener)

    async def propose(self, command: Command, *, request_id: RequestId) -> Applied:
        """Committed when it returns. See HardState.

        Raises: CommandRejectedError, StoreBusyError and StoreStoppedError (not done),
        StoreFailedError (unknown).
        """
        return await self._propose(command, request_id, None)

    async def propose_under(self, lease: HeldLease, command: Command, *, request_id: RequestId) -> Applied:
        """As `propose`, and refused with NotLeaderError (not done) once another took that role."""
        return await self._propose(command, request_id, lease)

    async def _propose(self, command: Command, request_id: RequestId, lease: HeldLease | None) -> Applied:
        if self._writer is None or self._is_closing:
            raise StoreStoppedError("the store is closed")
        if len(request_id.encode()) > REQUEST_ID_BYTES_MAX:
            raise CommandRejectedError("invalid", "The request id is too long.")
        if self._in_flight >= self._in_flight_max:
            raise StoreBusyError(f"{self._in_flight} commands are in flight already")
        try:
            body = encode_command(command)
            command = decode_command(body, self._program.kinds)  # as everybody else gets it
        except WireError as error:
            raise CommandRejectedError(
                "invalid", f"The request is too large or malformed ({error})."
            ) from error
        self._in_flight += 1
        until = time.monotonic() + DEADLINE_MS / 1_000
        future: asyncio.Future[Outcome] = self._loop.create_future()
        self._waiting.append((Waiting(command, body, request_id, lease, until), future))
        if self._idle.is_set():
            self._write()
        # A cancelled caller does not cancel its command.
        outcome = await asyncio.shield(future)
        if outcome.rejection is not None:
            raise CommandRejectedError(*outcome.rejection)
        return Applied(outcome.index, outcome.result, outcome.replayed)

    def _write(self) -> None:
        """The next turn, of all that wait by now."""
        taken: list[tuple[Waiting, asyncio.Future[Outcome]]] = []
        size = 0
        while self._waiting and len(taken) < COMMANDS_MAX:
            size += len(self._waiting[0][0].body)
            is_raise = isinstance(self._waiting[0][0].command, LevelRaise)
            if taken and (size > BYTES_MAX or is_raise):
                break
            taken.append(self._waiting.popleft())
            if is_raise:  # a turn of its own: tables change
                break
        if not taken:
            self._idle.set()
            return
        self._idle.clear()
        assert self._writer is not None
        writing = self._loop.run_in_executor(self._writer, self._commit, [one for one, _ in taken])
        writing.add_done_callback(lambda done: self._written(done, taken))

    def _written(
        self,
        writing: asyncio.Future[tuple[Outcome | FabricError, ...]],
        taken: Sequence[tuple[Waiting, asyncio.Future[Outcome]]],
    ) -> None:
        """On the loop, in commit order, before the proposers go on."""
        self._in_flight -= len(taken)
        error = writing.exception()
        if error is not None:
            for _, future in taken:
                settle(future, error)
            self._follower.wake()  # it may have been committed: then the feed has it
        else:
            for (one, future), outcome in zip(taken, writing.result(), strict=True):
                settle(future, outcome)
                if isinstance(outcome, Outcome):
                    self._tell(one.command, outcome)
        self._write()

    def _tell(self, command: Command, outcome: Outcome) -> None:
        self._applied_index = max(self._applied_index, outcome.index)
        if outcome.replayed:
            return
        entry = None
        if outcome.rejection is None:
            entry = AppliedEntry(outcome.index, command, Applied(outcome.index, outcome.result))
        if not self._order.bring(outcome.index, entry):
            self._follower.wake()

    async def read(self, query: Query[T], *, consistency: Consistency = Consistency.SESSION) -> T:
        """Every consistency reads the database itself. Raises MarkerNotFoundError, BadFilterError,
        StoreStoppedError."""
        return await self._on_reader(lambda connection: answer(connection, query))

    async def _on_reader(self, work: Callable[[Connection], T]) -> T:
        if self._readers is None or self._database is None:
            raise StoreStoppedError("the store is closed")
        return await self._loop.run_in_executor(self._readers, self._database.read, work)

    # ---- what other agents commit

    async def _feed_after(self, index: LogIndex) -> FeedPage:
        page = await self._on_reader(lambda connection: read_feed(connection, index))
        self._applied_index = max(self._applied_index, page.position)
        return page

    def _on_listening(self) -> None:
        self._follower.look_s = LOOK_S
        self._follower.wake()

    def _on_word(self, word: str) -> None:
        if word == LEASE_WORD:
            for listener in tuple(self._lease_listeners):
                listener()
        elif not word.endswith(self._tag):
            self._follower.wake()

    # ---- leases

    async def take_lease(self, role: str, node_id: NodeId, ttl_ms: int) -> LeaseAnswer:
        """See `role_lease.take`. Raises StoreStoppedError, StoreFailedError."""
        now = self._now()
        return await self._on_leaser(
            lambda connection: role_lease.take(connection, role, node_id, ttl_ms, now)
        )

    async def renew_lease(self, lease: HeldLease, ttl_ms: int) -> bool:
        """See `role_lease.renew`. Raises StoreStoppedError, StoreFailedError."""
        now = self._now()
        return await self._on_leaser(lambda connection: role_lease.renew(connection, lease, ttl_ms, now))

    async def give_up_lease(self, lease: HeldLease) -> None:
        """Others hear of it at once. Raises StoreStoppedError, StoreFailedError."""

        def give_up(connection: Connection) -> bool:
            was_held = role_lease.give_up(connection, lease)
            if was_held and self._abilities.can_notify:
                connection.execute(func.pg_notify(CHANNEL, LEASE_WORD).select())
            return was_held

        await self._on_leaser(give_up)

    def watch_leases(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Calls `listener` on the loop when one was given up. Returns the unsubscriber."""
        self._lease_listeners.append(listener)
        return lambda: self._lease_listeners.remove(listener)

    async def _on_leaser(self, work: Callable[[Connection], T]) -> T:
        if self._leaser is None or self._database is None:
            raise StoreStoppedError("the store is closed")
        database, until = self._database, time.monotonic() + LEASE_DEADLINE_MS / 1_000

        def run() -> T:
            def limited(connection: Connection) -> T:
                connection.execute(LEASE_TIMEOUT)
                return work(connection)

            return database.plain(limited, until=until)

        return await self._loop.run_in_executor(self._leaser, run)

    def _now(self) -> Now:
        """The time in milliseconds, of whoever's clock it is."""
        if self._clock is None:
            return role_lease.database_now()
        return literal(self._clock.wall_ms(), BigInteger)

    # ---- the writer thread

    def _commit(self, waiting: Sequence[Waiting]) -> tuple[Outcome | FabricError, ...]:
        """What becomes of each. Raises, of all of them: StoreBusyError, StoreStoppedError (not done),
        StoreFailedError (unknown)."""
        assert self._database is not None
        now = time.monotonic()
        if all(one.until <= now for one in waiting):  # behind others that waited for the database
            raise StoreBusyError("the database was away for too long")
        turn = Turn((), is_done=False, level=self._level)

        def work(connection: Connection) -> Turn | None:
            nonlocal turn
            turn = take_turn(connection, waiting, self._program, self._abilities, self._now(), self._tag)
            return turn if turn.is_done else None

        until = max(one.until for one in waiting)
        _, is_in_doubt = self._database.serializable(work, until=until)
        self._level = turn.level
        if is_in_doubt:
            turn = in_doubt(turn)
        taken = "another node took the role"
        fenced = StoreFailedError(f"{taken}; it may have been done") if is_in_doubt else NotLeaderError(taken)
        return tuple(fenced if outcome is None else outcome for outcome in turn.outcomes)


def _ended(following: asyncio.Task[None]) -> None:
    """By a bug of ours: others are heard of later, or not at all, and the rows are true."""
    error = None if following.cancelled() else following.exception()
    if error is not None:
        log.critical("not following the database any more", exc_info=error)
