"""One simulated voter, whole: the core, the pipeline, the log's bytes on a disk that tears, and its tables.

Only time and the threads are not the product's: a write and a fold take virtual time, and what they do
happens at its end; a crash in between finds the disk in the middle of it.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import SQLAlchemyError

from fabric.core.raft.config import RaftConfig
from fabric.core.raft.configuration import Configuration
from fabric.core.raft.errors import PromiseForgottenError
from fabric.core.raft.events import (
    Compacted,
    Halted,
    RaftEvent,
    Received,
    SnapshotArrived,
    SnapshotEnded,
    Woke,
)
from fabric.core.raft.log import SnapshotMark
from fabric.core.raft.node import RaftNode, Role
from fabric.core.raft.pipeline import Fold, Pipeline, Write
from fabric.core.raft.ready import Ready, Send
from fabric.store.disk_trust import can_learn_anew, is_set_back, may_have_lost
from fabric.store.errors import HaltedError, LogCorruptError, LogFailedError
from fabric.store.program import Program
from fabric.store.voter_log import Restored, VoterLog
from fabric.store.voter_start import found_voter, restore_voter
from fabric.store.voter_tables import Folded, VoterTables, check_copy
from proto.commands.log import LevelRaise
from proto.ids import LogIndex, Term, VoterId
from tests.fixtures.next_program import BASELINE
from tests.sim.raft_disk import DurableLog
from tests.sim.raft_faults import DiskFault
from tests.sim.raft_files import PowerLostError
from tests.sim.raft_tables import mark_of, opened_image
from tests.sim.raft_voter_disk import SimLog, VoterDisk

if TYPE_CHECKING:
    from tests.sim.raft_world import RaftWorld

CONFIG = RaftConfig(heartbeat_ms=50, election_ms=300, entries_max=16, append_bytes_max=2_000, inflight_max=4)
TRAIL = 8  # entries a voter keeps behind its snapshot
STEPS_MAX = 8  # of a write, until the power fails; some writes have fewer
SQLITE_STEPS_MAX = 300  # of a fold, until SQLite fails; some folds have fewer
FREED = 0.3  # of the starts that find room on the disk again
COPIED = 0.5  # of the states of a disk between two lives, that somebody keeps


class SimVoter(VoterDisk):
    def __init__(
        self, world: RaftWorld, me: VoterId, founders: Configuration, program: Program = BASELINE
    ) -> None:
        super().__init__(world)
        self.me = me
        self.program = program  # of its next life, too
        self.halt: HaltedError | None = None
        self.life = 0
        self.is_paused = False
        self.asked: dict[object, int] = {}  # read -> highest index acknowledged before it
        self.waiting: dict[tuple[int, int], object] = {}  # (index, term) -> whose command it is
        self.confirmed: list[tuple[int, object]] = []  # reads that wait until this index is applied
        self.clock_skew_ms = world.rng.randrange(-5_000, 5_000)
        self._snapshots: dict[SnapshotMark, bytes] = {}  # arrived, durable
        self._is_writing = self._is_folding = False
        self._inbox: deque[RaftEvent] = deque()
        self._woken_ms: int | None = None
        log, tables = self._open()
        mark = SnapshotMark(LogIndex(0), Term(0), founders)
        found_voter(log, tables, mark)
        self.durable = DurableLog(mark)
        self._sim_tables.checkpoint()
        self._sim_tables.close()

    def _open(self) -> tuple[VoterLog, VoterTables]:
        self._log = SimLog(self._files, self._world.faults.segment_bytes)
        self._tables = self._sim_tables.open(self.program)
        return self._log, self._tables

    # ---- lives

    @property
    def applied_index(self) -> int:
        return int(self._tables.mark.index)

    @property
    def level(self) -> int:
        """Of the group, as its rows know it."""
        return self._tables.level

    def of(self, table: str, *columns: str) -> list[tuple[Any, ...]]:
        return self._sim_tables.of(table, *columns)

    def rows(self) -> dict[str, list[tuple[object, ...]]]:
        return self._sim_tables.rows()

    def start(self) -> None:
        assert self.node is None
        assert not self.is_disowned
        self.life += 1
        if is_set_back(self._starts_inside, self._starts_outside):
            self._disown()
            return
        self._starts_inside = self._starts_outside = (self._starts_outside or 0) + 1
        if self._world.rng.random() < FREED:
            self._files.free_bytes = None
        try:
            log, tables = self._open()
            restored = restore_voter(log, tables, self._find_snapshot)
        except LogCorruptError:
            assert self._suffers is DiskFault.ROT, "damage to a disk that nothing befell"
            self._sim_tables.close()
            self._disown()
            return
        except OSError:
            assert self._suffers is DiskFault.UNREADABLE
            self._sim_tables.close()
            return
        assert restored is not None
        self._check_restored(restored)
        self._suffers = None  # what rotted had gone before, with its segment
        self.durable = DurableLog(restored.mark, restored.hard_state, restored.entries)
        self._is_torn = False
        self._pipeline = Pipeline()
        self.node = RaftNode(
            self.me,
            CONFIG,
            Random(f"{self._world.seed}/{self.me}/{self.life}"),
            mark=restored.mark,
            hard_state=restored.hard_state,
            entries=restored.entries,
            applied_index=self.applied_index,
            now_ms=self._world.now_ms,
        )
        self._arm()

    def _check_restored(self, restored: Restored) -> None:
        """What was durable is there, byte for byte; only a write that was torn may have left more."""
        durable = self.durable
        if not self._is_torn:
            assert restored == Restored(durable.hard, durable.mark, durable.entries)
            return
        assert restored.hard_state.term >= durable.hard.term
        if restored.hard_state.term == durable.hard.term:
            assert durable.hard.vote in (None, restored.hard_state.vote)
        assert restored.mark.index >= durable.mark.index
        if restored.mark == durable.mark:
            self._check_kept(restored)

    def _check_kept(self, restored: Restored) -> None:
        """All entries, up to the first that a later leader's write replaced."""
        for at, entry in enumerate(self.durable.entries):
            assert at < len(restored.entries), f"{self.me} lost entry {entry.index}, which was durable"
            if restored.entries[at] != entry:
                assert restored.entries[at].term > entry.term
                return

    def _find_snapshot(self, mark: SnapshotMark) -> sqlite3.Connection | None:
        image = self._snapshots.get(mark)
        return None if image is None else opened_image(image)

    def crash(self) -> None:
        if self.node is None:
            return
        rng = self._world.rng
        if self._is_writing:
            self._files.lose_power_after(rng.randrange(STEPS_MAX))
            with suppress(LogFailedError), self._torn_by_power():
                self._is_torn = True
                self._write(self._write_under_way)
                self._is_torn = False
        self._files.crash(rng)
        self._sim_tables.crash(rng)
        self._end()
        if rng.random() < COPIED:
            self.keep_copy()

    def _end(self) -> None:
        if self._suffers is not DiskFault.ROT:
            self._suffers = None
        self.node = None
        self.life += 1
        self.is_paused = self._is_writing = self._is_folding = False
        self.halt = None
        self._woken_ms = None
        for forgotten in (self._inbox, self.waiting, self.asked, self.confirmed):
            forgotten.clear()

    def pause(self, for_ms: int) -> None:
        if self.node is None or self.is_paused:
            return
        self.is_paused, life = True, self.life

        def go_on() -> None:
            if self.life != life:
                return
            self.is_paused = False
            while self._inbox and self.node is not None:
                self.tell(self._inbox.popleft())
            self._pump()

        self._world.after(for_ms, go_on)

    # ---- events

    def tell(self, event: RaftEvent) -> None:
        if self.node is None:
            return
        if self.is_paused:
            if not isinstance(event, Woke):
                self._inbox.append(event)
            return
        bystander = self._world.bystander
        was_leading, commit_before = self.node.role is Role.LEADER, self.node.commit_index
        term_before = self.node.term  # a leader of the past commits what the next one says
        counted = self.node.configuration
        try:
            ready = self.node.handle(event, self._world.now_ms)
        except PromiseForgottenError as error:
            self._forgot(error)
            return
        if not was_leading:
            bystander.on_role(self.node)
            if self.node.role is Role.LEADER:
                self._world.elected(self.me)
        elif self.node.commit_index > commit_before and self.node.term == term_before:
            bystander.on_leader_commit(self.node, counted, self._world.durable_logs())
        for entry in ready.committed:
            bystander.on_commit(self.me, self.node.term, entry)
        for send in ready.early:
            bystander.on_early(send, self.durable)
            self._world.send(self.me, send)
        self._answer(ready)
        self._leave(self._pipeline.push(ready))
        self._pump()
        self._arm()

    def _answer(self, ready: Ready) -> None:
        for done in ready.appended:
            self.waiting[(done.index, done.term)] = done.key
        for read in ready.reads:
            known = self.asked.pop(read.key, None)
            if known is not None:
                assert read.index >= known, f"a read at {read.index} misses the acknowledged entry {known}"
                self.confirmed.append((read.index, read.key))
        self._look()
        for refused in ready.refused:
            self.asked.pop(refused.key, None)
            self._world.history.refused(refused.key)
        for wanted in ready.snapshots_wanted:
            self._stream_snapshot(wanted.to)

    def _look(self) -> None:
        """Those read whose index the tables have reached."""
        ripe = [key for index, key in self.confirmed if index <= self.applied_index]
        if ripe:
            self.confirmed = [each for each in self.confirmed if each[0] > self.applied_index]
            projects = self._sim_tables.projects()
            for key in ripe:
                self._world.looked(key, projects)

    def _arm(self) -> None:
        assert self.node is not None
        due_ms, now_ms = self.node.due_ms, self._world.now_ms
        if due_ms is None or (self._woken_ms is not None and now_ms <= self._woken_ms <= due_ms):
            return
        self._woken_ms = max(due_ms, now_ms)
        self._world.after(self._woken_ms - now_ms, partial(self._wake, self.life, self._woken_ms))

    def _wake(self, life: int, due_ms: int) -> None:
        if self.life != life or self.node is None or self._woken_ms != due_ms:
            return
        self._woken_ms = None
        if self.is_paused:
            self._world.after(20, partial(self._rearm, life))
            return
        self.tell(Woke())

    def _rearm(self, life: int) -> None:
        if self.life == life and self.node is not None and self._woken_ms is None:
            self._arm()

    # ---- the two threads

    def _pump(self) -> None:
        if self.is_paused or self.node is None:
            return
        world = self._world
        if not self._is_writing and (write := self._pipeline.take_write()) is not None:
            self._is_writing, self._write_under_way = True, write
            world.after(world.rng.uniform(0, world.faults.fsync_ms), partial(self._written, self.life))
        if not self._is_folding and (fold := self._pipeline.take_fold()) is not None:
            self._is_folding = True
            world.after(world.rng.uniform(0, world.faults.fold_ms), partial(self._folded, self.life, fold))

    def _written(self, life: int) -> None:
        if self.life != life:
            return
        if self.is_paused:
            self._world.after(10, partial(self._written, life))
            return
        if self._world.strikes(self._world.faults.torn):
            self.crash()
            return
        try:
            self._write(self._write_under_way)
        except LogFailedError as error:
            self._stop(error)
            return
        self._is_writing = False
        self._leave(self._pipeline.written())
        self._pump()

    def _write(self, write: Write) -> None:
        self._log.write(hard_state=write.hard_state, installed=write.snapshot, entries=write.entries)
        self.durable.write(write.hard_state, write.snapshot, write.entries)

    # ---- its end

    def _stop(self, error: BaseException) -> None:
        """As the agent ends after its voter stopped itself: the machine goes on."""
        assert self.node is not None
        can_learn = can_learn_anew(self.me, self.node.configuration)
        self._is_torn = True
        self._files.process_ends()
        self._sim_tables.process_ends()
        self._end()
        if may_have_lost(error) and can_learn:
            self._disown()

    def _forgot(self, error: PromiseForgottenError) -> None:
        assert self.was_set_back_whole, str(error)
        self._stop(error)

    def _disown(self) -> None:
        self.is_disowned = True

    @contextmanager
    def _torn_by_power(self) -> Iterator[None]:
        try:
            yield
        except PowerLostError:
            self._is_torn = True

    def _folded(self, life: int, fold: Fold) -> None:
        if self.life != life:
            return
        if self.is_paused:
            self._world.after(10, partial(self._folded, life, fold))
            return
        if fold.snapshot is not None:
            if self._world.strikes(self._world.faults.parted):
                self.crash()
                return
            source = opened_image(self._snapshots[fold.snapshot])
            self._tables.install(source, fold.snapshot)
            source.close()
            self.waiting = {at: key for at, key in self.waiting.items() if at[0] > fold.snapshot.index}
        try:
            folded = self._fold(fold)
        except SQLAlchemyError as error:
            self._stop(error)
            return
        self._sim_tables.note(self._world.rng)
        for entry, one in zip(fold.entries, folded, strict=self._tables.halt is None):
            if one is not None and isinstance(one.entry.command, LevelRaise) and not one.outcome.rejection:
                self._world.raised(one.entry.command.to, entry.index)
            key = self.waiting.pop((entry.index, entry.term), None)
            if key is not None and one is not None:
                self._world.acknowledge(self.me, key, entry, one.outcome)
        self._look()
        if self._tables.halt is not None:  # this fold is never over, so none comes after it
            self._halt_for(self._tables.halt)
            return
        self._is_folding = False
        self._pipeline.folded()
        self._pump()

    def _fold(self, fold: Fold) -> Sequence[Folded | None]:
        if self._suffers is DiskFault.TABLES:
            self._sim_tables.fail_after(self._world.rng.randrange(1, SQLITE_STEPS_MAX))
        folded = self._tables.fold(fold.entries) if fold.entries else []
        if self._suffers is DiskFault.TABLES:
            self._sim_tables.fail_after(None)
        return folded

    def _halt_for(self, reason: HaltedError) -> None:
        self.halt = reason
        self.tell(Halted())

    def _leave(self, sends: list[Send]) -> None:
        for send in sends:
            self._world.bystander.on_send(self.me, send, self.durable)
            if send.to == self.me:
                self._world.after(0, partial(self._to_self, self.life, send))
            else:
                self._world.send(self.me, send)

    def _to_self(self, life: int, send: Send) -> None:
        if self.life == life:
            self.tell(Received(self.me, send.message))

    # ---- snapshots

    def compact(self) -> None:
        """The tables are flushed; what is far enough behind them goes from the log."""
        if self.node is None or self.is_paused:
            return
        self._sim_tables.checkpoint()
        self._snapshots = {m: i for m, i in self._snapshots.items() if m.index > self.applied_index}
        index = self.applied_index - TRAIL
        if index <= self.node.log.mark.index:
            return
        before = self.durable.mark
        self.tell(Compacted(LogIndex(index)))
        mark = self.node.log.mark
        if mark.index <= before.index:
            return  # a snapshot under way to somebody needs what is behind it
        if self._world.rng.random() < 0.1:
            self._files.lose_power_after(self._world.rng.randrange(STEPS_MAX))
        try:
            with self._torn_by_power():
                self._log.compact(mark)
                self.durable.compact(mark)
        except LogFailedError as error:
            self._stop(error)
            return
        self._files.lose_power_after(None)
        if self._is_torn:
            self._is_writing = False  # whatever else was to be written never was
            self.crash()

    def _stream_snapshot(self, to: VoterId) -> None:
        world = self._world
        assert self.node is not None
        image, term, life = self._sim_tables.image(), self.node.term, self.life
        mark = self._tables.mark
        assert mark_of(image) == mark

        def arrive() -> None:
            target = world.voters[to]
            if (self.me, to) not in world.cuts:
                target.take_snapshot(self.me, term, mark, image)
            if self.life == life:
                self.tell(SnapshotEnded(to))

        world.after(world.rng.uniform(1, 10 * world.faults.delay_ms), arrive)

    def take_snapshot(self, sender: VoterId, term: int, mark: SnapshotMark, image: bytes) -> None:
        if self.node is None or self.is_paused or self.halt is not None:
            return
        with closing(opened_image(image)) as source:
            try:
                check_copy(source, mark, self.program)
            except HaltedError as error:
                self._halt_for(error)
                return
        self._snapshots[mark] = image
        self.tell(SnapshotArrived(sender, term, mark))
