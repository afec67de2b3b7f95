"""Every order of events of a few voters, up to a bound, breadth first: so what is found is found shortest.

The voters are the real core and the real pipeline. At each step any voter may be told any message that was
ever sent to it (so messages are lost, late, doubled and overtaken), stand for election, take a command, have
its disk write, or crash and come back with what its disk holds. No clock: leases have always run out and
timeouts may always fire, so more can happen than in any real group.

States that behave alike are visited once; of a visited one only its hash of 64 bits is kept (hash compaction;
Stern and Dill, 1995): among 10^6 states two share one with a chance of 10^-7, and then one is not searched.
What a voter does with an event depends on nothing but the voter, so it is computed once for all states. Of
voters that nothing told apart yet the first one acts first; an answer that can mean nothing to its receiver
any more is not kept. Checked after each step: figure 3 of the Raft paper, and that what is committed is on
the disks of a majority. Not explored: changes of the voters, snapshots, reads, hand-over; the simulator has
those (`raft_world`).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from random import Random

from fabric.core.raft.config import RaftConfig
from fabric.core.raft.configuration import Configuration
from fabric.core.raft.events import Campaign, Propose, RaftEvent, Received, Woke
from fabric.core.raft.log import SnapshotMark
from fabric.core.raft.node import RaftNode, Role
from fabric.core.raft.pipeline import Pipeline
from fabric.core.raft.ready import HardState, Ready, Send
from proto.ids import LogIndex, Term, VoterId
from proto.raft import AppendReply, EntryKind, HeartbeatReply, LogEntry, RaftMessage, VoteReply
from tests.sim.raft_disk import DurableLog
from tests.sim.raft_twin import twin, visible

LATER_MS = 1_000_000  # each event comes when every timeout is over


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What may happen, and how far to look. `logs`: the terms of the entries that each starts with;
    `hard_terms`: the term that each starts in, its vote in it being its own to give."""

    voters: int = 3
    terms_max: int = 2
    log_max: int = 2  # entries; nobody proposes beyond it
    crashes_max: int = 0
    logs: tuple[tuple[int, ...], ...] = ((), (), ())
    hard_terms: tuple[int, ...] = (0, 0, 0)
    append_entries_max: int = 4  # of one message
    are_disks_slow: bool = False  # or a write is done before the next event
    asks_before: bool = False  # PreVote; without it anybody stands at any time, as if all had said yes
    depth_max: int = 100
    states_max: int = 1_000_000


class ViolationError(AssertionError):
    """A property does not hold; with the shortest way to it."""


@dataclass(frozen=True, slots=True)
class Wire:
    sender: int
    to: int
    message: RaftMessage


@dataclass(frozen=True, slots=True)
class Slot:
    """One voter, never changed: an event makes another one of it."""

    node: RaftNode
    disk: DurableLog
    pipeline: Pipeline
    log: tuple[LogEntry, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """What came of an event: the voter after it, and the messages that left."""

    slot: int
    wires: tuple[tuple[int, int], ...]  # (to, number)
    through: int | None = None  # what the voter was in between, before it crashed


@dataclass(frozen=True, slots=True)
class Past:
    """What later voters are held against."""

    committed: tuple[LogEntry, ...] = ()
    committed_in: tuple[int, ...] = ()  # the term of the leader who did
    leaders: tuple[tuple[int, int], ...] = ()  # (term, voter)


STAND, COMMAND, TELL = "it stands", "it takes a command", "it tells what is committed"
WRITE, CRASH = "its disk writes", "it crashes and comes back"
Action = Hashable  # one of these, the number of a wire, or a pair of one and CRASH
# slots, numbers of the wires to each, number of the past, crashes
State = tuple[tuple[int, ...], tuple[tuple[int, ...], ...], int, int]
Way = tuple["Way", int, Action] | None  # the steps until here, the last one first: (voter, action)


@dataclass(slots=True)
class Explored:
    states: int = 0
    depth: int = 0  # all states up to it were visited
    is_complete: bool = False  # there are no others


class Explorer:
    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._names = [VoterId("abcdefg"[number]) for number in range(scope.voters)]
        self._config = RaftConfig(entries_max=scope.append_entries_max, inflight_max=2)
        self._founders = Configuration(frozenset(self._names))
        self._slots: list[Slot] = []
        self._slot_numbers: dict[Hashable, int] = {}
        self._wires: list[Wire] = []
        self._wire_numbers: dict[Wire, int] = {}
        self._pasts: list[Past] = [Past()]
        self._past_numbers: dict[Past, int] = {Past(): 0}
        self._steps: dict[tuple[int, Action], Step] = {}
        self._torn: dict[tuple[int, Action], Step | None] = {}
        self._dead: dict[tuple[int, int], bool] = {}
        self._matching: set[tuple[int, int]] = set()
        self._stand: RaftEvent = Woke() if scope.asks_before else Campaign()

    # ---- the search

    def explore(self) -> Explored:
        """Raises ViolationError."""
        scope = self._scope
        start = self._start()
        seen = {hash(start)}
        frontier: list[tuple[State, Way]] = [(start, None)]
        found = Explored(states=1)
        for _ in range(scope.depth_max):
            coming: list[tuple[State, Way]] = []
            for state, way in frontier:
                for voter, action, step, crashes in self._steps_of(state):
                    after = self._after(state, voter, step, crashes, (way, voter, action))
                    mark = hash(after)
                    if mark not in seen:
                        seen.add(mark)
                        coming.append((after, (way, voter, action)))
                if len(seen) > scope.states_max:
                    found.states = len(seen)
                    return found
            found.states = len(seen)
            found.depth += 1
            frontier = coming
            if not frontier:
                found.is_complete = True
                break
        return found

    def _start(self) -> State:
        scope = self._scope
        slots = []
        for number, (terms, hard_term) in enumerate(zip(scope.logs, scope.hard_terms, strict=True)):
            mark = SnapshotMark(LogIndex(0), Term(0), self._founders)
            entries = [_command(index, term, "old") for index, term in enumerate(terms, 1)]
            disk = DurableLog(mark, HardState(Term(hard_term)), entries)
            slots.append(self._number(number, self._wake_up(number, disk), disk, Pipeline()))
        self._untouched = tuple(slots)
        self._are_alike = len({*scope.logs}) == len({*scope.hard_terms}) == 1
        return self._untouched, ((),) * scope.voters, 0, 0

    def _steps_of(self, state: State) -> Iterator[tuple[int, Action, Step, int]]:
        """What may happen next and changes something: (voter, action, what comes of it, crashes so far)."""
        scope, (slots, inboxes, _, crashes) = self._scope, state
        steps = self._steps
        for voter, number in enumerate(slots):
            if voter and self._has_done_nothing(voter - 1, state):
                break  # this one differs from it in nothing but its name
            slot = self._slots[number]
            actions: list[Action] = list(inboxes[voter])
            node = slot.node
            if node.role is Role.LEADER:
                if len(slot.log) < scope.log_max:
                    actions.append(COMMAND)
                assert node.leader is not None
                if node.leader.tells_somebody(node.commit_index):
                    actions.append(TELL)
            elif node.term < scope.terms_max:
                actions.append(STAND)
            if scope.are_disks_slow and not slot.pipeline.is_idle:
                actions.append(WRITE)
            may_crash = crashes < scope.crashes_max
            if may_crash:
                actions.append(CRASH)
            for action in actions:
                step = steps.get((number, action))
                if step is None:
                    step = steps[number, action] = self._step(voter, number, action)
                is_crash = action is CRASH
                if step.slot != number or step.wires:
                    yield voter, action, step, crashes + is_crash
                if may_crash and not is_crash and not scope.are_disks_slow:
                    torn = self._crash_in(voter, number, action)
                    if torn is not None:
                        yield voter, (action, CRASH), torn, crashes + 1

    def _has_done_nothing(self, voter: int, state: State) -> bool:
        slots, inboxes, _, _ = state
        return (
            self._are_alike
            and slots[voter] == self._untouched[voter]
            and all(self._wires[wire].sender != voter for inbox in inboxes for wire in inbox)
        )

    def _after(self, state: State, voter: int, step: Step, crashes: int, way: Way) -> State:
        slots, inboxes, past, _ = state
        boxes = list(inboxes)
        for became in (step.through, step.slot):
            if became is not None and became != slots[voter]:
                before = slots[voter]
                slots = (*slots[:voter], became, *slots[voter + 1 :])
                past = self._check(slots, voter, before, past, way)
        if step.slot != state[0][voter]:
            boxes[voter] = tuple(wire for wire in boxes[voter] if not self._is_dead(step.slot, wire))
        for to, number in step.wires:
            if number not in boxes[to] and not self._is_dead(slots[to], number):
                boxes[to] = tuple(sorted((*boxes[to], number)))
        return slots, tuple(boxes), past, crashes

    def _is_dead(self, number: int, wire_number: int) -> bool:
        """Whether that answer will never again mean anything to this voter, for its term is over or it does
        not stand or lead in it any more; nor after a crash."""
        known = self._dead.get((number, wire_number))
        if known is None:
            slot, message = self._slots[number], self._wires[wire_number].message
            term, role = slot.disk.hard.term, slot.node.role
            match message:
                case VoteReply():
                    is_over = role is not Role.CANDIDATE
                case AppendReply() | HeartbeatReply():
                    is_over = role is Role.FOLLOWER
                case _:
                    is_over = False
            is_answer = isinstance(message, VoteReply | AppendReply | HeartbeatReply)
            is_past = is_answer and message.term < term
            known = is_past or (is_over and message.term == term == slot.node.term)
            self._dead[number, wire_number] = known
        return known

    # ---- one voter

    def _number(self, voter: int, node: RaftNode, disk: DurableLog, pipeline: Pipeline) -> int:
        key = (voter, visible(node), visible(disk), visible(pipeline))
        number = self._slot_numbers.get(key)
        if number is None:
            number = self._slot_numbers[key] = len(self._slots)
            log = node.log.slice(node.log.first_index, node.log.last_index + 1)
            self._slots.append(Slot(node, disk, pipeline, tuple(log)))
        return number

    def _wake_up(self, voter: int, disk: DurableLog) -> RaftNode:
        """Its tables were not flushed: it applies everything again."""
        return RaftNode(
            self._names[voter],
            self._config,
            Random(0),
            mark=disk.mark,
            hard_state=disk.hard,
            entries=tuple(disk.entries),
            now_ms=0,
        )

    def _step(self, voter: int, number: int, action: Action) -> Step:
        slot = self._slots[number]
        node, disk, pipeline = twin(slot.node), twin(slot.disk), twin(slot.pipeline)
        sends: list[Send] = []
        if action is CRASH:
            return Step(self._number(voter, self._wake_up(voter, disk), disk, Pipeline()), ())
        if action is not WRITE:
            ready = self._told(voter, node, action)
            self._owe(node, disk, pipeline, ready, sends)
        if action is WRITE or not self._scope.are_disks_slow:
            self._write(node, disk, pipeline, sends)
        after = self._number(voter, twin(node), disk, pipeline)
        if slot.node.role is node.role is Role.LEADER and slot.node.term == node.term:
            kept = self._slots[after].log[: len(slot.log)]
            assert kept == slot.log, f"{node.me} leads and takes back entries of its own log"
        return Step(after, self._number_wires(voter, sends))

    def _told(self, voter: int, node: RaftNode, action: Action) -> Ready:
        if action is TELL:  # and nothing else that a leader does when it wakes
            assert node.leader is not None
            node.leader.heartbeat_due_ms = node.leader.quorum_due_ms = 2 * LATER_MS
            node.leader.tell_due_ms = LATER_MS
        return node.handle(self._event(voter, action), LATER_MS)

    def _event(self, voter: int, action: Action) -> RaftEvent:
        if isinstance(action, int):
            wire = self._wires[action]
            return Received(self._names[wire.sender], wire.message)
        if action is STAND:
            return self._stand
        if action is TELL:
            return Woke()
        return Propose([("", self._names[voter].encode())])

    def _crash_in(self, voter: int, number: int, action: Action) -> Step | None:
        """What leaves early has left, and nothing was written. None: it is as if it had crashed before."""
        key = (number, action)
        if key not in self._torn:
            slot = self._slots[number]
            node = twin(slot.node)
            early = self._told(voter, node, action).early
            if not early:
                self._torn[key] = None
            else:
                wires = self._number_wires(voter, list(early))
                through = self._number(voter, twin(node), slot.disk, slot.pipeline)
                self._torn[key] = Step(self._step(voter, number, CRASH).slot, wires, through)
        return self._torn[key]

    def _owe(
        self, node: RaftNode, disk: DurableLog, pipeline: Pipeline, ready: Ready, sends: list[Send]
    ) -> None:
        sends += ready.early
        self._leave(node, disk, pipeline, pipeline.push(ready), sends)

    def _write(self, node: RaftNode, disk: DurableLog, pipeline: Pipeline, sends: list[Send]) -> None:
        while (write := pipeline.take_write()) is not None:
            disk.write(write.hard_state, write.snapshot, write.entries)
            self._leave(node, disk, pipeline, pipeline.written(), sends)
            if self._scope.are_disks_slow:
                return

    def _leave(
        self, node: RaftNode, disk: DurableLog, pipeline: Pipeline, leaving: list[Send], sends: list[Send]
    ) -> None:
        while pipeline.take_fold() is not None:  # what is applied was checked when it was committed
            pipeline.folded()
        for send in leaving:
            if send.to == node.me:
                ready = node.handle(Received(node.me, send.message), LATER_MS)
                self._owe(node, disk, pipeline, ready, sends)
            else:
                sends.append(send)

    def _number_wires(self, voter: int, sends: list[Send]) -> tuple[tuple[int, int], ...]:
        found: dict[tuple[int, int], None] = {}
        for send in sends:
            wire = Wire(voter, self._names.index(send.to), send.message)
            number = self._wire_numbers.setdefault(wire, len(self._wires))
            if number == len(self._wires):
                self._wires.append(wire)
            found[wire.to, number] = None
        return tuple(found)

    # ---- what must hold

    def _check(self, slots: tuple[int, ...], voter: int, before: int, past: int, way: Way) -> int:
        """The number of the past after this step."""
        try:
            was, now = self._slots[before], self._slots[slots[voter]]
            after = self._pasts[past]
            if now.node.role is Role.LEADER and (was.node.role, was.node.term) != (
                now.node.role,
                now.node.term,
            ):
                after = self._check_leader(voter, now, after)
            if now.node.commit_index > was.node.commit_index:
                after = self._check_commit(slots, voter, now, after)
            if now.log != was.log:
                self._check_matching(slots, voter)
        except AssertionError as error:
            raise ViolationError(f"{error}\n{self.tell(way)}") from error
        number = self._past_numbers.setdefault(after, len(self._pasts))
        if number == len(self._pasts):
            self._pasts.append(after)
        return number

    def _check_leader(self, voter: int, now: Slot, past: Past) -> Past:
        """Election safety and leader completeness."""
        term, known = now.node.term, dict(past.leaders).get(now.node.term)
        assert known in (None, voter), f"term {term} has two leaders"
        for entry, committed_in in zip(past.committed, past.committed_in, strict=True):
            if committed_in < term:
                assert now.log[entry.index - 1 : entry.index] == (entry,), (
                    f"{now.node.me} leads term {term} without entry {entry.index} of term {entry.term}, "
                    f"which was committed in term {committed_in}"
                )
        if known is not None:
            return past
        return Past(past.committed, past.committed_in, tuple(sorted((*past.leaders, (term, voter)))))

    def _check_commit(self, slots: tuple[int, ...], voter: int, now: Slot, past: Past) -> Past:
        """State machine safety; and what is committed is on the disks of a majority."""
        node = now.node
        committed = now.log[: node.commit_index]
        known = past.committed[: len(committed)]
        assert committed[: len(known)] == known, f"{node.me} commits {committed} where {known} is committed"
        if len(committed) == len(known):
            return past
        assert node.role is Role.LEADER, f"{node.me} commits what no leader did"
        for entry in committed[len(known) :]:
            holders = sum(self._slots[slot].disk.holds(entry.index, entry.term) for slot in slots)
            assert 2 * holders > len(slots), f"entry {entry.index} is committed and on {holders} disks"
        terms = past.committed_in + (node.term,) * (len(committed) - len(known))
        return Past(committed, terms, past.leaders)

    def _check_matching(self, slots: tuple[int, ...], voter: int) -> None:
        """Log matching."""
        for other in slots:
            pair = (slots[voter], other)
            if other == slots[voter] or pair in self._matching:
                continue
            ours, theirs = self._slots[pair[0]].log, self._slots[other].log
            both = list(zip(ours, theirs, strict=False))
            same = [at for at, (one, another) in enumerate(both) if one.term == another.term]
            agreed = same[-1] + 1 if same else 0
            assert ours[:agreed] == theirs[:agreed], f"logs differ where they agree later: {ours} {theirs}"
            self._matching.add(pair)

    # ---- for people

    def tell(self, way: Way) -> str:
        lines: list[str] = []
        while way is not None:
            way, voter, action = way
            event, *crash = action if isinstance(action, tuple) else (action,)
            if isinstance(event, int):
                wire = self._wires[event]
                event = f"hears of {self._names[wire.sender]}: {wire.message}"
            lines.append(f"{self._names[voter]}: {event}{' and crashes before it writes' if crash else ''}")
        return "\n".join(f"{number:3}. {line}" for number, line in enumerate(reversed(lines), 1))


def _command(index: int, term: int, data: str) -> LogEntry:
    return LogEntry(index=LogIndex(index), term=Term(term), kind=EntryKind.COMMAND, data=data.encode())
