"""The deterministic world of voters: virtual time, one seed, a lossy network, disks that crash half-written.

The real core and the real codec run in it. `Ready`s go through a pipeline as in the runtime: what is early
leaves at once, the rest after a write that takes time; crashes come at any moment, also in the middle of one.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

from fabric.core.raft.config import RaftConfig
from fabric.core.raft.configuration import Configuration
from fabric.core.raft.events import (
    AskRead,
    Compacted,
    Propose,
    ProposeConfiguration,
    RaftEvent,
    Received,
    SnapshotArrived,
    SnapshotEnded,
    Transfer,
    Woke,
)
from fabric.core.raft.log import SnapshotMark
from fabric.core.raft.node import RaftNode, Role
from fabric.core.raft.ready import Ready, Send
from proto.codec import pack, unpack
from proto.ids import LogIndex, Term, VoterId
from proto.raft import RAFT_MESSAGES
from proto.records import from_wire, to_wire
from tests.sim.membership_time import Schedule
from tests.sim.raft_checks import Bystander
from tests.sim.raft_disk import RaftDisk

CONFIG = RaftConfig(heartbeat_ms=50, election_ms=300, entries_max=16, append_bytes_max=600, inflight_max=4)
KINDS = {kind.KIND: kind for kind in RAFT_MESSAGES}
TRAIL = 8  # entries a voter keeps behind its snapshot


@dataclass(slots=True)
class Faults:
    """Chances by message or moment, drawn anew for each seed (swarm testing)."""

    loss: float = 0.0
    duplicate: float = 0.0
    delay_ms: int = 5
    slow_share: float = 0.0  # of messages that take up to ten times as long
    fsync_ms: int = 5
    crash: float = 0.0  # a second, for each voter
    cut: float = 0.0
    pause: float = 0.0
    compact: float = 0.0
    change: float = 0.0
    transfer: float = 0.0

    @classmethod
    def drawn_from(cls, rng: Random) -> Faults:
        def some(most: float) -> float:
            return rng.choice((0.0, rng.uniform(0, most)))

        return cls(
            loss=some(0.3),
            duplicate=some(0.2),
            delay_ms=rng.choice((1, 5, 40, 150)),
            slow_share=some(0.2),
            fsync_ms=rng.choice((0, 5, 50)),
            crash=some(0.4),
            cut=some(0.5),
            pause=some(0.4),
            compact=some(1.0),
            change=some(0.4),
            transfer=some(0.4),
        )


@dataclass(slots=True)
class Acknowledged:
    """A command somebody was told is done, or a read's answer, for the reader of histories."""

    index: int
    term: int


@dataclass(slots=True)
class SimVoter:
    me: VoterId
    disk: RaftDisk
    node: RaftNode | None = None
    life: int = 0
    pipeline: deque[tuple[Ready, Term]] = field(default_factory=deque)  # with the term it was made in
    is_writing: bool = False
    is_paused: bool = False
    inbox: deque[RaftEvent] = field(default_factory=deque)
    arrived: dict[int, tuple[SnapshotMark, dict[int, bytes]]] = field(default_factory=dict)
    waiting: dict[tuple[int, int], object] = field(default_factory=dict)  # (index, term) -> command's key
    asked: dict[object, int] = field(default_factory=dict)  # read -> highest index acknowledged before it
    woken_ms: int | None = None


class RaftWorld:
    def __init__(self, seed: int, voters: int, *, spare: int = 0, faults: Faults | None = None) -> None:
        self.rng = Random(seed)
        self.seed = seed
        self.faults = faults or Faults()
        self._schedule = Schedule()
        self.bystander = Bystander()
        self.cuts: set[tuple[VoterId, VoterId]] = set()
        names = [VoterId(f"n{i}") for i in range(1, voters + spare + 1)]
        founders = frozenset(names[:voters])
        self.voters: dict[VoterId, SimVoter] = {}
        for name in names:
            known = Configuration(founders) if name in founders else Configuration()
            self.voters[name] = SimVoter(name, RaftDisk(SnapshotMark(LogIndex(0), Term(0), known)))
        self.is_faulty = False
        self.sent = 0
        self.acknowledged: dict[object, Acknowledged] = {}
        self.reads_done = 0
        self._commands = itertools.count()
        for name in names:
            self.start(name)

    # ---- time

    @property
    def now_ms(self) -> int:
        return self._schedule.now_ms

    def after(self, delay_ms: float, action: Callable[[], None]) -> None:
        self._schedule.after(max(0, round(delay_ms)), lambda _: action())

    def run(self, for_ms: int) -> None:
        self._schedule.run_to(self.now_ms + for_ms)

    def run_until(self, holds: Callable[[], bool], *, within_ms: int, step_ms: int = 10) -> int:
        start_ms = self.now_ms
        while not holds():
            assert self.now_ms - start_ms < within_ms, f"seed {self.seed}: not within {within_ms} ms"
            self.run(step_ms)
        return self.now_ms - start_ms

    # ---- voters

    def start(self, name: VoterId) -> None:
        voter = self.voters[name]
        assert voter.node is None
        voter.life += 1
        disk = voter.disk
        voter.node = RaftNode(
            name,
            CONFIG,
            Random(f"{self.seed}/{name}/{voter.life}"),
            mark=disk.mark,
            hard_state=disk.hard,
            entries=tuple(disk.entries),
            applied_index=disk.applied_index,
            now_ms=self.now_ms,
        )
        self._arm(voter)

    def crash(self, name: VoterId) -> None:
        voter = self.voters[name]
        if voter.node is None:
            return
        if voter.is_writing and voter.pipeline:
            ready, _ = voter.pipeline[0]
            voter.disk.write_some(ready, self._snapshot_for(voter, ready), self.rng)
        voter.node = None
        voter.pipeline.clear()
        voter.inbox.clear()
        voter.arrived.clear()
        voter.waiting.clear()
        voter.asked.clear()
        voter.is_writing = voter.is_paused = False
        voter.woken_ms = None
        voter.life += 1
        voter.disk.lose_rows(self.rng)

    def tell(self, name: VoterId, event: RaftEvent) -> None:
        voter = self.voters[name]
        if voter.node is None:
            return
        if voter.is_paused:
            if not isinstance(event, Woke):
                voter.inbox.append(event)
            return
        was_leading, commit_before = voter.node.role is Role.LEADER, voter.node.commit_index
        counted = voter.node.configuration
        ready = voter.node.handle(event, self.now_ms)
        if not was_leading:
            self.bystander.on_role(voter.node)
        if was_leading and voter.node.commit_index > commit_before:
            disks = {name: other.disk for name, other in self.voters.items()}
            self.bystander.on_leader_commit(voter.node, counted, disks)
        for send in ready.early:
            self.bystander.on_early(send, voter.disk)
            self._send(voter, send)
        for done in ready.appended:
            voter.waiting[(done.index, done.term)] = done.key
        for read in ready.reads:
            known = voter.asked.pop(read.key, None)
            if known is not None:
                assert read.index >= known, f"a read at {read.index} misses the acknowledged entry {known}"
                self.reads_done += 1
        for refused in ready.refused:
            voter.asked.pop(refused.key, None)
        for wanted in ready.snapshots_wanted:
            self._stream_snapshot(voter, wanted.to)
        voter.pipeline.append((ready, voter.node.term))
        self._work(voter)
        self._arm(voter)

    def _arm(self, voter: SimVoter) -> None:
        assert voter.node is not None
        due_ms = voter.node.due_ms
        if due_ms is None or (voter.woken_ms is not None and self.now_ms <= voter.woken_ms <= due_ms):
            return
        due_ms = max(due_ms, self.now_ms)
        voter.woken_ms = due_ms
        self.after(due_ms - self.now_ms, partial(self._wake, voter, voter.life, due_ms))

    def _wake(self, voter: SimVoter, life: int, due_ms: int) -> None:
        if voter.life != life or voter.node is None or voter.woken_ms != due_ms:
            return
        voter.woken_ms = None
        if voter.is_paused:
            self.after(20, lambda: self._rearm(voter, life))
            return
        self.tell(voter.me, Woke())

    def _rearm(self, voter: SimVoter, life: int) -> None:
        if voter.life == life and voter.node is not None and voter.woken_ms is None:
            self._arm(voter)

    def pause(self, name: VoterId, for_ms: int) -> None:
        voter = self.voters[name]
        if voter.node is None or voter.is_paused:
            return
        voter.is_paused, life = True, voter.life

        def go_on() -> None:
            if voter.life != life:
                return
            voter.is_paused = False
            while voter.inbox and not voter.is_paused and voter.node is not None:
                self.tell(name, voter.inbox.popleft())
            self._work(voter)

        self.after(for_ms, go_on)

    # ---- the pipeline

    def _work(self, voter: SimVoter) -> None:
        while voter.pipeline and not voter.is_writing and not voter.is_paused:
            ready, term = voter.pipeline[0]
            if ready.hard_state is None and not ready.entries and ready.snapshot is None:
                voter.pipeline.popleft()
                self._finish(voter, ready, term)
                continue
            voter.is_writing = True
            delay = self.rng.uniform(0, self.faults.fsync_ms)
            self.after(delay, partial(self._written, voter, voter.life))

    def _written(self, voter: SimVoter, life: int) -> None:
        if voter.life != life:
            return
        if voter.is_paused:  # the disk is done; the process finds out when it goes on
            self.after(10, partial(self._written, voter, life))
            return
        ready, term = voter.pipeline.popleft()
        voter.disk.write(ready, self._snapshot_for(voter, ready))
        voter.is_writing = False
        self._finish(voter, ready, term)
        self._work(voter)

    def _snapshot_for(self, voter: SimVoter, ready: Ready) -> dict[int, bytes] | None:
        return voter.arrived[ready.snapshot.index][1] if ready.snapshot is not None else None

    def _finish(self, voter: SimVoter, ready: Ready, term: Term) -> None:
        life = voter.life
        for send in ready.messages:
            self.bystander.on_send(voter.me, send, voter.disk)
            if send.to == voter.me:
                self.after(0, partial(self._to_self, voter, life, send))
            else:
                self._send(voter, send)
        for entry in ready.committed:
            self.bystander.on_commit(voter.me, term, entry)
            if entry.index > voter.disk.applied_index:
                voter.disk.apply(entry)
            key = voter.waiting.pop((entry.index, entry.term), None)
            if key is not None:
                self.acknowledged[key] = Acknowledged(entry.index, entry.term)

    def _to_self(self, voter: SimVoter, life: int, send: Send) -> None:
        if voter.life == life:
            self.tell(voter.me, Received(voter.me, send.message))

    # ---- the network

    def _send(self, voter: SimVoter, send: Send) -> None:
        self.sent += 1
        frame = pack([send.message.KIND, to_wire(send.message)])
        faults, rng = self.faults, self.rng
        copies = 1
        if self.is_faulty:
            if rng.random() < faults.loss:
                return
            if rng.random() < faults.duplicate:
                copies = 2
        for _ in range(copies):
            delay = rng.uniform(0.5, faults.delay_ms)
            if self.is_faulty and rng.random() < faults.slow_share:
                delay *= 10
            self.after(delay, lambda: self._arrive(voter.me, send.to, frame))

    def _arrive(self, sender: VoterId, to: VoterId, frame: bytes) -> None:
        if (sender, to) in self.cuts or to not in self.voters:
            return
        self.tell(to, Received(sender, parse_frame(frame)))

    def _stream_snapshot(self, voter: SimVoter, to: VoterId) -> None:
        mark, rows = voter.disk.mark, dict(voter.disk.snapshot)
        assert voter.node is not None
        term, life = voter.node.term, voter.life

        def arrive() -> None:
            target = self.voters[to]
            if (voter.me, to) not in self.cuts and target.node is not None and not target.is_paused:
                target.arrived[mark.index] = (mark, rows)
                self.tell(to, SnapshotArrived(voter.me, term, mark))
            if voter.life == life:
                self.tell(voter.me, SnapshotEnded(to))

        self.after(self.rng.uniform(1, 10 * self.faults.delay_ms), arrive)

    def split(self, *sides: Iterable[VoterId]) -> None:
        side_of = {name: number for number, side in enumerate(sides) for name in side}
        self.cuts = {
            (a, b) for a in self.voters for b in self.voters if side_of.get(a, a) != side_of.get(b, b)
        }

    # ---- what users do

    def leader(self) -> SimVoter | None:
        """The one of the highest term."""
        leading = [v for v in self.voters.values() if v.node is not None and v.node.role is Role.LEADER]
        return max(leading, key=lambda v: v.node.term if v.node else 0, default=None)

    def propose(self, name: VoterId, count: int = 1) -> list[object]:
        keys: list[object] = [
            f"c{next(self._commands)}{'.' * self.rng.choice((0, 0, 60, 200))}" for _ in range(count)
        ]
        self.tell(name, Propose([(key, str(key).encode()) for key in keys]))
        return keys

    def ask_read(self, name: VoterId) -> object:
        key = f"r{next(self._commands)}"
        self.voters[name].asked[key] = max((done.index for done in self.acknowledged.values()), default=0)
        self.tell(name, AskRead(key))
        return key

    def compact(self, name: VoterId) -> None:
        voter = self.voters[name]
        if voter.node is None or voter.is_paused:
            return
        index = voter.disk.applied_index - TRAIL
        if index <= voter.node.log.mark.index:
            return
        self.tell(name, Compacted(LogIndex(index)))
        voter.disk.compact(voter.node.log.mark)

    def change(self, name: VoterId, voters: frozenset[VoterId], learners: frozenset[VoterId]) -> None:
        self.tell(name, ProposeConfiguration(f"g{next(self._commands)}", voters, learners))

    def transfer(self, name: VoterId, to: VoterId) -> None:
        self.tell(name, Transfer(to))

    # ---- chaos

    def trouble(self, for_ms: int) -> None:
        """Faults and users, a decision for each voter each 100 ms."""
        self.is_faulty = True
        for _ in range(for_ms // 100):
            for name, voter in self.voters.items():
                self._trouble_one(name, voter)
            if len(self.voters) > 1 and self.rng.random() < self.faults.cut / 10:
                self._cut_something()
            self.bystander.check_logs([v.node for v in self.voters.values() if v.node is not None])
            self.run(100)

    def _trouble_one(self, name: VoterId, voter: SimVoter) -> None:
        rng, faults = self.rng, self.faults
        if voter.node is None:
            if rng.random() < 0.1:
                self.start(name)
            return
        if rng.random() < faults.crash / 10:
            self.crash(name)
            return
        if rng.random() < faults.pause / 10:
            self.pause(name, rng.choice((50, 400, 2_000)))
        if rng.random() < faults.compact / 10:
            self.compact(name)
        if voter.node.role is Role.LEADER:
            for _ in range(rng.randrange(4)):
                self.propose(name, rng.randrange(1, 6))
            if rng.random() < 0.5:
                self.ask_read(name)
            if rng.random() < faults.change / 10:
                self._change_something(name)
            if rng.random() < faults.transfer / 10:
                self.transfer(name, rng.choice(sorted(self.voters)))

    def _change_something(self, leader: VoterId) -> None:
        names = sorted(self.voters)
        self.rng.shuffle(names)
        size = self.rng.choice((1, 2, 3, 3, 5))
        cut = self.rng.randrange(len(names) + 1)
        self.change(leader, frozenset(names[:size]), frozenset(names[size:][:cut]))

    def _cut_something(self) -> None:
        names = sorted(self.voters)
        match self.rng.randrange(4):
            case 0:
                self.cuts = set()
            case 1:
                one, other = self.rng.sample(names, 2)
                self.cuts.add((one, other))  # one way only
            case 2:
                alone = self.rng.choice(names)
                self.split([alone], [name for name in names if name != alone])
            case _:
                self.rng.shuffle(names)
                at = self.rng.randrange(1, len(names))
                self.split(names[:at], names[at:])

    def heal(self) -> None:
        """All cables whole, all powered on."""
        self.is_faulty = False
        self.cuts = set()
        for name, voter in self.voters.items():
            if voter.node is None:
                self.start(name)

    def is_settled(self) -> bool:
        """One leads, its configuration is in force and committed, and every member has applied all."""
        leader = self.leader()
        if leader is None or leader.node is None:
            return False
        node = leader.node
        if node.configuration.is_joint or node.commit_index < node.log.last_index:
            return False
        return all(
            (member := self.voters[name].node) is not None
            and member.commit_index == node.commit_index
            and self.voters[name].disk.applied_index == node.commit_index
            for name in node.configuration.members
        )

    def check_settled(self) -> None:
        """Everybody holds the same rows, and every acknowledged command is in them, once."""
        leader = self.leader()
        assert leader is not None
        assert leader.node is not None
        rows = leader.disk.rows
        for name in leader.node.configuration.members:
            member = self.voters[name]
            assert member.disk.rows == rows, f"{name} holds other rows than {leader.me}"
            assert member.node is not None
            assert member.node.configuration == leader.node.configuration, f"{name} counts other voters"
            self.bystander.check_mark(member.node)
        commands = [data for data in rows.values() if data.startswith(b"c")]
        assert len(commands) == len(set(commands)), "a command was applied twice"
        for key, done in self.acknowledged.items():
            assert self.bystander.committed[done.index].term == done.term
            if str(key).startswith("c"):
                assert rows[done.index] == str(key).encode(), f"{key} was done at {done.index} and is lost"
        for voter in self.voters.values():
            assert voter.node is not None
            refused = {name: n for name, n in voter.node.counters.items() if name == "refused.second_leader"}
            assert not refused


def parse_frame(frame: bytes) -> Any:
    plain = unpack(frame)
    assert isinstance(plain, list)
    kind, body = plain
    return from_wire(KINDS[str(kind)], body)
