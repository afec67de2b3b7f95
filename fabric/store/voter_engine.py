"""One voter of a replicated log: core and pipeline on the event loop, log and tables on a thread each.

Theory of operation. The loop never waits for a disk. What is proposed in one turn of the loop is one event
for the core; what that owes gathers in the pipeline while the log's thread makes the group before it durable.
Promises leave after that, committed entries go to the tables' thread, and whoever proposed one is answered
when it is folded: durable on a majority, applied here. Reads have threads and read-only connections of their
own, each in one snapshot of the rows.

After a failed write or sync the voter has stopped for good: what its log held is UNKNOWN to whoever waits,
what comes later is refused NOT_DONE, and nothing more is said to its peers.

A voter whose program cannot apply what the log goes on with has *halted*: its rows stay as they are and can
be read, it leads nobody, and it goes on keeping the log and voting. A newer program goes on from there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Protocol, TypeVar

from fabric.core.queries import Applied, AppliedEntry, Consistency, Listener, Query
from fabric.core.raft.config import RaftConfig
from fabric.core.raft.configuration import Configuration
from fabric.core.raft.events import (
    AskRead,
    Campaign,
    Compacted,
    Halted,
    LeaderGone,
    Propose,
    ProposeConfiguration,
    RaftEvent,
    Received,
    SnapshotArrived,
    SnapshotEnded,
    Transfer,
    Woke,
)
from fabric.core.raft.lease import lead_left_ms
from fabric.core.raft.log import SnapshotMark
from fabric.core.raft.node import RaftNode, Role
from fabric.core.raft.pipeline import Fold, Pipeline, Write
from fabric.core.raft.ready import Ready, Send
from fabric.core.voters.levels import Levels
from fabric.errors import CommandRejectedError, NotLeaderError
from fabric.store.command_entry import REQUEST_ID_BYTES_MAX, encode_command_entry
from fabric.store.errors import HaltedError, SnapshotRefusedError, StoreBusyError, StoreStoppedError
from fabric.store.files import DISK_FREE_BYTES_MIN, Files, OsFiles
from fabric.store.listeners import Listeners
from fabric.store.lock import DirectoryLock
from fabric.store.program import PROGRAM, Program, need_level
from fabric.store.row_readers import RowReaders
from fabric.store.settle import settle
from fabric.store.snapshot_files import SNAPSHOTS, SnapshotFiles
from fabric.store.sqlite import DATABASE, open_writer
from fabric.store.voter_compaction import VoterCompaction
from fabric.store.voter_digests import VoterDigests
from fabric.store.voter_log import SEGMENT_BYTES, Restored, VoterLog
from fabric.store.voter_snapshots import SnapshotSender, VoterSnapshots
from fabric.store.voter_start import found_voter, restore_voter
from fabric.store.voter_tables import Folded, VoterTables
from fabric.store.voter_threads import OrderedThread, StartThread
from fabric.store.voter_waiting import Proposal, Waiting, not_leader
from proto.commands import Command, encode_command
from proto.errors import WireError
from proto.ids import LogIndex, RequestId, Term, VoterId, new_request_id
from proto.raft import RaftMessage

log = logging.getLogger(__name__)

T = TypeVar("T")

IN_FLIGHT_MAX = 8_192  # design/log.md section 4, item 11
SETTLE_S = 0.002  # a voter that is alone looks this often whether its vote is durable
NOBODY = Configuration()
HAND_OVER_EVERY_MS = 10_000  # while the disk is low: the next leader's may be, too


class Clock(Protocol):
    def monotonic_ms(self) -> int: ...

    def wall_ms(self) -> int: ...


class Peers(SnapshotSender, Protocol):
    """The other voters. Messages may be lost, doubled and reordered, never altered."""

    def send(self, to: VoterId, message: RaftMessage) -> None:
        """Never calls back at once: the voter is in the middle of an event."""
        ...


@dataclass(frozen=True, slots=True)
class Followed:
    """A member as its leader sees it. `lag`: entries it does not hold yet, as far as is known; `silent_ms`:
    since it last said anything in this term, or since it came; `hanging_ms`: since its disk last did what it
    owes. Heartbeats are answered without a disk, so who hangs is not silent."""

    lag: int
    silent_ms: int
    hanging_ms: int


class VoterEngine:
    """`open` before use, `close` after. One event loop."""

    def __init__(
        self,
        directory: Path,
        me: VoterId,
        *,
        founders: Configuration = NOBODY,
        clock: Clock,
        rng: Random,
        peers: Peers,
        config: RaftConfig | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        in_flight_max: int = IN_FLIGHT_MAX,
        disk_free_bytes_min: int = DISK_FREE_BYTES_MIN,
        on_failure: Callable[[BaseException], None] | None = None,
        program: Program = PROGRAM,
        files: Files | None = None,
        start_thread: StartThread = OrderedThread,
    ) -> None:
        """`founders`: the first voters, where there is no voter in the directory yet; empty for who joins a
        group later. `on_failure` is called on the loop once, when the voter stopped itself. `files`: the
        log's, when they are not in the directory."""
        self.me = me
        self._founders = founders
        self._directory = directory
        self._clock = clock
        self._rng = rng
        self._peers = peers
        self._config = config or RaftConfig()
        self._in_flight_max = in_flight_max
        self._disk_free_bytes_min = disk_free_bytes_min
        self._on_failure = on_failure
        self._program = program
        self._files = files
        self._segment_bytes = segment_bytes
        self._start_thread = start_thread
        self._lock = DirectoryLock(directory)
        self._listeners = Listeners()
        self._pipeline = Pipeline()
        self._node: RaftNode | None = None
        self._failure: BaseException | None = None
        self._halt: HaltedError | None = None
        self._level = 0  # until it is open
        self._gathered: list[Proposal] = []
        self._own: deque[RaftMessage] = deque()  # what this voter promised itself
        self.waiting = Waiting()
        self._applied = LogIndex(0)
        self._installed = 0
        self._led_since_ms = 0  # by the leader before the last change, too
        self._lead_listeners: list[Callable[[], None]] = []
        self._told_lead: tuple[Term, VoterId | None, bool] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ms = 0  # when it fires, while there is one
        self._handed_over_ms: int | None = None

    # ---- what others may know

    @property
    def applied_index(self) -> LogIndex:
        return self._applied

    @property
    def failure(self) -> BaseException | None:
        """Why the voter stopped itself; None while it works."""
        return self._failure

    @property
    def halt(self) -> HaltedError | None:
        """Why its rows take no more entries; None while they do."""
        return self._halt

    @property
    def level(self) -> int:
        """Of the group, as this voter's rows know it."""
        return self._level

    @property
    def levels(self) -> Levels:
        """What this voter's program can apply."""
        return self._program.levels

    @property
    def passed_over(self) -> int:
        """See HardState: how many snapshots took the place of rows."""
        return self._installed

    @property
    def is_leader(self) -> bool:
        return self._node is not None and self._failure is None and self._node.role is Role.LEADER

    @property
    def leader_id(self) -> VoterId | None:
        """Whom this voter believes to lead."""
        return None if self._node is None else self._node.leader_id

    @property
    def term(self) -> Term:
        return self._need_node().term

    @property
    def configuration(self) -> Configuration:
        return self._need_node().configuration

    @property
    def last_configuration(self) -> Configuration:
        """As `configuration`, also of a voter that stopped itself."""
        return NOBODY if self._node is None else self._node.configuration

    @property
    def is_changing(self) -> bool:
        """A change of the configuration is not committed yet, as far as this voter knows."""
        node = self._need_node()
        return node.configuration.is_joint or node.log.configuration_index > node.commit_index

    # ---- life

    async def open(self) -> None:
        """Takes the directory and goes on from where it was. A voter that is alone leads when this returns,
        and its rows hold all that was ever answered.

        Raises: StoreLockedError, LogCorruptError, SchemaVersionError, OSError, SQLAlchemyError,
        StoreStoppedError (its disk failed meanwhile, or it is alone and halted).
        """
        restored = await self._open_whole()
        self._applied, self._level = self._tables.mark.index, self._tables.level
        self._log_thread = self._start_thread("voter-log", self._fail)
        self._tables_thread = self._start_thread("voter-tables", self._fail)
        self._node = RaftNode(
            self.me,
            self._config,
            self._rng,
            mark=restored.mark,
            hard_state=restored.hard_state,
            entries=restored.entries,
            applied_index=self._applied,
            now_ms=self._clock.monotonic_ms(),
        )
        self._digests = VoterDigests(self._directory / DATABASE, self._rows)
        self._tables.on_compare = self._digests.pin
        self._snapshots = VoterSnapshots(
            self._snapshot_files,
            self._rows,
            self._peers,
            lambda to: self._handle(SnapshotEnded(to)),
            self._program,
        )
        self._compaction = VoterCompaction(
            self._log, self._tables, self._snapshot_files, self._log_thread, self._tables_thread, self._cut
        )
        self._arm()
        if self._node.configuration == Configuration(frozenset({self.me})):
            self._handle(Campaign())  # there is nobody to wait for
            try:
                await self._until_settled()
            except BaseException:
                await self.close()
                raise

    async def _open_whole(self) -> Restored:
        """Whoever is cancelled meanwhile leaves the directory free: its thread goes on, and takes it."""
        opening = asyncio.create_task(asyncio.to_thread(self._open))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            await asyncio.wait((opening,))
            if opening.exception() is None:
                await self._rows.close()
                self._taken.close()
            raise

    async def _until_settled(self) -> None:
        while True:
            with contextlib.suppress(NotLeaderError):  # its own vote is not on the disk yet
                await self.wait_applied(await self.read_index())
                return
            if self._halt is not None:
                raise StoreStoppedError(str(self._halt)) from self._halt
            await asyncio.sleep(SETTLE_S)

    def _open(self) -> Restored:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.ExitStack() as taken:
            self._lock.acquire()
            taken.callback(self._lock.release)
            files = self._files or OsFiles(self._directory / "log")
            self._log = VoterLog(files, segment_bytes=self._segment_bytes)
            taken.callback(self._log.close)
            connection = open_writer(self._directory / DATABASE)
            taken.callback(connection.engine.dispose)
            taken.callback(connection.close)
            self._tables = VoterTables(connection, self._program)
            self._snapshot_files = SnapshotFiles(self._directory / SNAPSHOTS)
            restored = restore_voter(self._log, self._tables, self._snapshot_files.open)
            if restored is None:
                mark = SnapshotMark(LogIndex(0), Term(0), self._founders)
                restored = found_voter(self._log, self._tables, mark)
            self._taken = taken.pop_all()
        self._rows = RowReaders(self._directory / DATABASE)
        return restored

    def digest(self, index: LogIndex) -> bytes | None:
        """Of the rows right behind that entry, which compares; None while it is not known here."""
        return self._digests.known(index)

    def stop(self, error: BaseException) -> None:
        """Stops itself, as after a failed disk: what it holds is not to be trusted."""
        self._fail(error)

    async def close(self) -> None:
        """Stops at once: what is in flight is UNKNOWN to whoever waits. Twice is the same as once."""
        if self._node is None:
            return
        if self._failure is None:
            self._stop(StoreStoppedError("the store is closed"))
        self._node = None
        await self._snapshots.close()
        await self._digests.close()
        await self._log_thread.close()
        await self._tables_thread.close()
        await self._rows.close()
        self._taken.close()

    def _fail(self, error: BaseException) -> None:
        """Fail-stop."""
        if self._failure is not None or self._node is None:
            return
        log.critical("voter stopped", extra={"error": str(error)[:500]})
        self._stop(error)
        if self._on_failure is not None:
            self._on_failure(error)

    def _stop(self, error: BaseException) -> None:
        self._failure = error
        if self._timer is not None:
            self._timer.cancel()
        for proposal in self._gathered:
            settle(proposal.future, StoreStoppedError(f"the store stopped: {error}"))
        self._gathered = []
        self.waiting.stop(error)

    def _halt_for(self, reason: HaltedError) -> None:
        """Nothing is lost: the log goes on here, the rows do not."""
        if self._halt is not None:
            return
        self._halt = reason
        log.critical("voter halted: run a newer program on this node", extra={"reason": str(reason)})
        self.waiting.halt(reason)
        self._handle(Halted())

    def _need_node(self) -> RaftNode:
        """Raises StoreStoppedError."""
        if self._failure is not None:
            raise StoreStoppedError(f"the store stopped: {self._failure}") from self._failure
        if self._node is None:
            raise StoreStoppedError("the store is closed")
        return self._node

    # ---- what users ask

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        return self._listeners.add(listener)

    def watch_lead(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Calls `listener` on the loop when `term`, `leader_id` or `is_leader` has changed. Returns the
        unsubscriber. It must not block, nor call back into the voter at once."""
        self._lead_listeners.append(listener)
        return lambda: self._lead_listeners.remove(listener)

    async def propose(self, command: Command, *, request_id: RequestId) -> Applied:
        """Durable on a majority and applied here when it returns.

        Raises: CommandRejectedError, NotLeaderError, StoreBusyError and StoreStoppedError (not done),
        StoreFailedError (unknown).
        """
        node = self._need_node()
        if len(request_id.encode()) > REQUEST_ID_BYTES_MAX:
            raise CommandRejectedError("invalid", "The request id is too long.")
        try:
            data = encode_command_entry(self._clock.wall_ms(), request_id, encode_command(command))
        except WireError as error:
            raise CommandRejectedError(
                "invalid", f"The request is too large or malformed ({error})."
            ) from error
        if node.role is not Role.LEADER:
            raise not_leader(node.leader_id)
        need_level(command, self._level)
        in_flight = len(self._gathered) + self.waiting.entries
        if in_flight >= self._in_flight_max:
            raise StoreBusyError(f"{in_flight} commands are in flight already")
        proposal = Proposal(command, data, asyncio.get_running_loop().create_future())
        if not self._gathered:  # what else is proposed in this turn of the loop goes with it
            asyncio.get_running_loop().call_soon(self._propose_gathered)
        self._gathered.append(proposal)
        # A cancelled caller does not cancel its command: it is in the log, or about to be, and in flight.
        return await proposal.future

    def _propose_gathered(self) -> None:
        gathered, self._gathered = self._gathered, []
        if not gathered:
            return
        if self._disk_is_low():
            low = "too little disk space is left on the conductor: free some and try again"
            for proposal in gathered:
                settle(proposal.future, StoreBusyError(low))
            self._hand_over()
            return
        self._handle(Propose([(proposal, proposal.data) for proposal in gathered]))

    def _hand_over(self) -> None:
        """To the voter that lacks least, though not again and again."""
        leader = self._node.leader if self._node is not None else None
        to = leader.best_other() if leader is not None else None
        now_ms = self._clock.monotonic_ms()
        is_soon = self._handed_over_ms is not None and now_ms < self._handed_over_ms + HAND_OVER_EVERY_MS
        if to is None or is_soon:
            return
        log.warning("disk is low: handing the lead over", extra={"to": to})
        self._handed_over_ms = now_ms
        self.transfer(to)

    def _disk_is_low(self) -> bool:
        disk = os.statvfs(self._directory)
        return disk.f_bavail * disk.f_frsize < self._disk_free_bytes_min

    async def read(self, query: Query[T], *, consistency: Consistency = Consistency.SESSION) -> T:
        """LINEARIZABLE asks a majority first, and only the leader can. Raises MarkerNotFoundError,
        BadFilterError, NotLeaderError, StoreStoppedError."""
        self._need_node()
        if consistency is Consistency.LINEARIZABLE:
            await self.catch_up()
        return await self._rows.read(query)

    async def catch_up(self) -> None:
        """See HardState. Only the leader can. Raises NotLeaderError, StoreStoppedError."""
        await self.wait_applied(await self.read_index())

    async def read_index(self) -> LogIndex:
        """Rows that hold this entry hold everything that was answered before this was asked (ReadIndex;
        thesis, 6.4). Raises NotLeaderError, StoreStoppedError."""
        self._need_node()
        return await self.waiting.read(lambda key: self._handle(AskRead(key)))

    async def wait_applied(self, index: LogIndex) -> None:
        """Until the rows hold that entry. Raises StoreStoppedError."""
        self._need_node()
        if self._applied < index:
            if self._halt is not None:
                raise StoreStoppedError(str(self._halt)) from self._halt
            await self.waiting.until(index)

    async def raise_level(self, to: int) -> Applied:
        """As `propose`; CommandRejectedError where somebody raised it first."""
        command = await asyncio.to_thread(self._program.raise_to, to)  # renders SQL
        return await self.propose(command, request_id=new_request_id())

    def progress(self) -> Mapping[VoterId, Followed]:
        """How the leader sees each member, itself too; empty where this voter does not lead."""
        node = self._node
        if node is None or node.leader is None:
            return {}
        last, now_ms = node.log.last_index, self._clock.monotonic_ms()
        return {
            member: Followed(
                lag=0 if member == self.me else last - seen.match,
                silent_ms=0 if member == self.me else now_ms - max(seen.answered_ms, self._led_since_ms),
                hanging_ms=0
                if member == self.me or seen.match >= last
                else now_ms - max(seen.wrote_ms, self._led_since_ms),
            )
            for member, seen in node.leader.progress.items()
        }

    def lead_left_ms(self) -> int | None:
        """For how long nobody else can lead. None: this voter does not lead, or is its whole group."""
        silent_ms = {member: seen.silent_ms for member, seen in self.progress().items()}
        return lead_left_ms(self.configuration, silent_ms, self._config.election_ms) if silent_ms else None

    def furthest_other(self) -> VoterId | None:
        """Whom to hand the lead to: the voter that has most of the log. None: there is no other."""
        node = self._node
        return None if node is None or node.leader is None else node.leader.best_other()

    def transfer(self, to: VoterId) -> None:
        """Hands the leadership over, if this voter has it and `to` catches up in time."""
        self._handle(Transfer(to))

    def change(self, voters: frozenset[VoterId], learners: frozenset[VoterId] = frozenset()) -> None:
        """Begins a change of the configuration; `configuration` tells what came of it."""
        self._handle(ProposeConfiguration(object(), voters, learners))

    def leader_gone(self) -> None:
        """The leader's process has ended, as its machine says: nobody has to wait until it is missed."""
        leader = self.leader_id
        if leader is not None and not self.is_leader:
            self._handle(LeaderGone(leader))

    # ---- the core

    def receive(self, sender: VoterId, message: RaftMessage) -> None:
        """`sender` is proven by its link."""
        self._handle(Received(sender, message))

    def _handle(self, event: RaftEvent) -> None:
        if self._node is None or self._failure is not None:
            return
        try:
            self._owe(self._node.handle(event, self._clock.monotonic_ms()))
            self._go_on(self._node)
        except Exception as error:  # a bug of ours: whoever goes on after it may promise what is not so
            log.exception("voter failed", extra={"event": type(event).__name__})
            self._fail(error)

    def _go_on(self, node: RaftNode) -> None:
        """Hears what this voter promised itself, then gives the threads and the clock what is next."""
        while self._own:
            own = Received(self.me, self._own.popleft())
            self._owe(node.handle(own, self._clock.monotonic_ms()))
        self._pump()
        self._arm()
        lead = (node.term, node.leader_id, node.role is Role.LEADER)
        if lead != self._told_lead:
            self._told_lead, self._led_since_ms = lead, self._clock.monotonic_ms()
            for listener in tuple(self._lead_listeners):
                listener()

    def _owe(self, ready: Ready) -> None:
        for send in ready.early:
            self._peers.send(send.to, send.message)
        for done in ready.appended:
            if isinstance(done.key, Proposal):
                self.waiting.hold(done.index, done.term, done.key)
        for refused in ready.refused:
            self.waiting.refuse(refused.key, refused.leader)
        for read in ready.reads:
            self.waiting.answer(read.key, read.index)
        for wanted in ready.snapshots_wanted:
            self._snapshots.begin(wanted.to, self._need_node().term)
        self._leave(self._pipeline.push(ready))

    def _leave(self, sends: list[Send]) -> None:
        for send in sends:
            if send.to == self.me:
                self._own.append(send.message)
            else:
                self._peers.send(send.to, send.message)

    def _arm(self) -> None:
        """Nearly every event moves what is due to later: a timer for an earlier moment stays, and looks
        again when it fires."""
        if self._node is None or self._failure is not None:
            return
        due_ms = self._node.due_ms
        if due_ms is None:
            return
        if self._timer is not None:
            if self._timer_ms <= due_ms:
                return
            self._timer.cancel()
        wait_s = max(0, due_ms - self._clock.monotonic_ms()) / 1_000
        self._timer = asyncio.get_running_loop().call_later(wait_s, self._look)
        self._timer_ms = due_ms

    def _look(self) -> None:
        self._timer = None
        due_ms = None if self._node is None else self._node.due_ms
        if due_ms is not None and due_ms <= self._clock.monotonic_ms():
            self._handle(Woke())
        else:
            self._arm()

    # ---- the two threads

    def _pump(self) -> None:
        if (write := self._pipeline.take_write()) is not None:
            self._log_thread.run(lambda write=write: self._write(write), self._written)  # type: ignore[misc]
        if (fold := self._pipeline.take_fold()) is not None:
            self._tables_thread.run(
                lambda fold=fold: self._fold(fold),  # type: ignore[misc]
                lambda folded, fold=fold: self._folded(fold, folded),  # type: ignore[misc]
            )

    def _write(self, write: Write) -> None:
        self._log.write(hard_state=write.hard_state, installed=write.snapshot, entries=write.entries)

    def _written(self, _: None) -> None:
        if self._failure is not None or self._node is None:
            return
        self._leave(self._pipeline.written())
        self._go_on(self._node)

    def _fold(self, fold: Fold) -> list[Folded | None]:
        if fold.snapshot is not None:
            source = self._snapshot_files.open(fold.snapshot)
            assert source is not None, "it was durable when it was announced"
            with closing(source):
                self._tables.install(source, fold.snapshot)
        return self._tables.fold(fold.entries) if fold.entries else []

    def _folded(self, fold: Fold, folded: list[Folded | None]) -> None:
        if self._failure is not None or self._node is None:
            return
        self._level = self._tables.level
        if fold.snapshot is not None:
            self._applied = fold.snapshot.index
            self._installed += 1
            self.waiting.pass_over(self._applied)
        told: list[AppliedEntry] = []
        for entry, one in zip(fold.entries, folded, strict=self._tables.halt is None):
            self._applied = entry.index
            proposal = self.waiting.folded(entry.index, entry.term, self._node.leader_id)
            if one is None:
                continue
            outcome = one.outcome
            applied = Applied(outcome.index, outcome.result, outcome.replayed)
            if outcome.rejection is None and not outcome.replayed:
                told.append(AppliedEntry(outcome.index, one.entry.command, applied))
            if proposal is not None:
                rejection = outcome.rejection
                settle(proposal.future, applied if rejection is None else CommandRejectedError(*rejection))
        self._listeners.tell(told)
        self.waiting.applied(self._applied)
        if self._tables.halt is not None:  # this fold is never over, so none comes after it
            self._halt_for(self._tables.halt)
            return
        self._pipeline.folded()
        self._compaction.begin_if_due(self._node.log.mark.index, self._applied)
        self._pump()

    # ---- snapshots

    def incoming_snapshot(self, sender: VoterId) -> Path:
        """Where one that begins to arrive is written. Raises OSError, SnapshotRefusedError,
        StoreStoppedError."""
        self._need_node()
        if self._halt is not None:
            raise SnapshotRefusedError(f"the voter has halted: {self._halt}")
        return self._snapshots.incoming(sender)

    async def receive_snapshot(self, sender: VoterId, term: Term, mark: SnapshotMark, path: Path) -> None:
        """All of it is at `path`, which `incoming_snapshot` gave. Raises OSError, SnapshotRefusedError,
        StoreStoppedError."""
        self._need_node()
        try:
            await self._snapshots.keep(path, mark)
        except HaltedError as error:
            self._halt_for(error)
            raise SnapshotRefusedError(f"the voter has halted: {error}") from error
        self._handle(SnapshotArrived(sender, term, mark))

    # ---- compaction

    def _cut(self, index: LogIndex) -> SnapshotMark | None:
        if self._node is None or self._failure is not None:
            return None
        before = self._node.log.mark.index
        self._handle(Compacted(index))
        mark = self._node.log.mark
        return mark if mark.index > before else None
