"""The deterministic world of voters: virtual time, one seed, a lossy network, whole voters, and their users.

Commands are the product's own and are asked again under the same request id, as clients do.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import Any

from fabric.core.raft.configuration import Configuration
from fabric.core.raft.events import AskRead, LeaderGone, Propose, ProposeConfiguration, Received, Transfer
from fabric.core.raft.node import Role
from fabric.core.raft.ready import Send
from fabric.core.voters.levels import next_level
from fabric.store.apply import Outcome
from fabric.store.command_entry import encode_command_entry
from fabric.store.program import Program
from proto.codec import pack, unpack
from proto.commands import Command, encode_command
from proto.commands.identity import ProjectCreate, ProjectDelete
from proto.ids import LogIndex, ProjectId, RequestId, VoterId
from proto.raft import RAFT_MESSAGES, LogEntry
from proto.records import from_wire, to_wire
from tests.fixtures.next_program import BASELINE, Paint
from tests.fixtures.store_world import DOMAIN, fabric_init
from tests.sim.linearizability import Verdict
from tests.sim.membership_time import Schedule
from tests.sim.raft_checks import Bystander
from tests.sim.raft_disk import DurableLog
from tests.sim.raft_faults import Faults
from tests.sim.raft_history import RaftHistory
from tests.sim.raft_misfortune import Misfortune
from tests.sim.raft_voter import SimVoter

KINDS = {kind.KIND: kind for kind in RAFT_MESSAGES}
AGAIN = 0.2  # of commands that somebody asks again
DELETES = 0.15  # of new ones
PAINTS = 0.3  # of new ones, where the level has them
RAISES = 0.3  # a moment of a leader
NAMES = 40  # few enough that some collide, and are rejected, everywhere alike


@dataclass(slots=True)
class Acknowledged:
    """What somebody was told: which request it serves, the entry it was in, what came of it."""

    request_id: RequestId
    index: int
    term: int
    outcome: Outcome


class RaftWorld:
    def __init__(
        self,
        seed: int,
        voters: int,
        *,
        spare: int = 0,
        faults: Faults | None = None,
        upgrade_to: Program | None = None,
    ) -> None:
        """`upgrade_to`: of the version to which voters are upgraded one by one; half of them run it
        already."""
        self.rng = Random(seed)
        self.seed = seed
        self.faults = faults or Faults()
        self._schedule = Schedule()
        self.bystander = Bystander()
        self.cuts: set[tuple[VoterId, VoterId]] = set()
        names = [VoterId(f"n{i}") for i in range(1, voters + spare + 1)]
        self.founders = Configuration(frozenset(names[:voters]))
        self.is_faulty = False
        self.sent = 0
        self.acknowledged: dict[object, Acknowledged] = {}
        self.reads_done = 0
        self.history = RaftHistory()
        self._upgrade_to = upgrade_to
        self.raised_at: dict[
            int, int
        ] = {}  # level -> index of the entry that raised it, at whoever folded it
        self._numbers = itertools.count()
        self._requests: list[tuple[RequestId, Command]] = [(RequestId("q-init"), fabric_init())]
        self._programs = {
            name: upgrade_to if upgrade_to is not None and place % 2 else BASELINE
            for place, name in enumerate(names)
        }
        self.voters: dict[VoterId, SimVoter] = {}
        for name in names:
            self.add_voter(name)
        self.misfortune = Misfortune(self)

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

    def add_voter(self, name: VoterId) -> None:
        known = self.founders if name in self.founders.voters else Configuration()
        newest = self._upgrade_to or BASELINE  # of who comes in the place of another
        self.voters[name] = SimVoter(self, name, known, self._programs.get(name, newest))
        self.start(name)

    def start(self, name: VoterId) -> None:
        self.voters[name].start()

    def crash(self, name: VoterId) -> None:
        self.voters[name].crash()

    def durable_logs(self) -> dict[VoterId, DurableLog]:
        return {name: voter.durable for name, voter in self.voters.items()}

    def elected(self, name: VoterId) -> None:
        """Who waited for a leader asks at once: its tables may lag, and another may still believe to lead."""
        self.after(0, lambda: self._welcome(name))

    def _welcome(self, name: VoterId) -> None:
        self.ask_read(name)
        self.propose(name)

    def acknowledge(self, who: VoterId, key: object, entry: LogEntry, outcome: Outcome) -> None:
        """Whoever is told tells others, and they look at once, wherever somebody seems to lead."""
        assert isinstance(key, tuple)
        for name, voter in self.voters.items():
            if name != who and voter.node is not None and voter.node.role is Role.LEADER:
                self.ask_read(name)
        self.acknowledged[key] = Acknowledged(key[0], entry.index, entry.term, outcome)
        self.history.told(key, outcome, self.now_ms)

    # ---- the network

    def send(self, sender: VoterId, send: Send) -> None:
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
            self.after(delay, lambda: self._arrive(sender, send.to, frame))

    def _arrive(self, sender: VoterId, to: VoterId, frame: bytes) -> None:
        if (sender, to) in self.cuts or to not in self.voters:
            return
        self.voters[to].tell(Received(sender, parse_frame(frame)))

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
        """Keys are (request id, number of the asking)."""
        voter = self.voters[name]
        time_ms = self.now_ms + voter.clock_skew_ms
        asked = [self._some_request(voter.level) for _ in range(count)]
        asked = [each for each in asked if voter.level >= each[1].LEVEL]  # as the product refuses
        keys: list[object] = [(request_id, next(self._numbers)) for request_id, _ in asked]
        entries = [encode_command_entry(time_ms, who, encode_command(command)) for who, command in asked]
        for key, (request_id, command) in zip(keys, asked, strict=True):
            self.history.asked(key, request_id, command, self.now_ms)
        voter.tell(Propose(list(zip(keys, entries, strict=True))))
        return keys

    def _some_request(self, level: int) -> tuple[RequestId, Command]:
        requests, rng = self._requests, self.rng
        if rng.random() < AGAIN or (len(requests) == 1 and not self.acknowledged):
            return rng.choice(requests[-50:])
        number = next(self._numbers)
        requests.append((RequestId(f"q{number}"), self._some_command(number, level)))
        return requests[-1]

    def _some_command(self, number: int, level: int) -> Command:
        rng = self.rng
        if level >= Paint.LEVEL and rng.random() < PAINTS:
            _, earlier = rng.choice(self._requests[-50:])
            of = earlier.project_id if isinstance(earlier, ProjectCreate) else ""
            return Paint(colour=rng.choice(("red", "blue")), project_id=of)
        _, earlier = rng.choice(self._requests[-50:])
        if isinstance(earlier, ProjectCreate) and rng.random() < DELETES:
            return ProjectDelete(project_id=earlier.project_id)
        return ProjectCreate(
            project_id=ProjectId(f"p{number}"),
            domain_id=DOMAIN,
            name=f"name {number % NAMES}",
            description="." * rng.choice((0, 0, 60, 400)),
        )

    def raised(self, to: int, index: int) -> None:
        """Somebody folded it: wherever that happens, it is the same entry."""
        known = self.raised_at.setdefault(to, index)
        assert known == index, f"level {to} was raised by entry {known}, and by {index} elsewhere"

    def raise_if_due(self) -> None:
        """What the leader's autopilot does."""
        leader = self.leader()
        if leader is None or leader.node is None:
            return
        others = [self.voters[each] for each in leader.node.configuration.members if each != leader.me]
        to = next_level(leader.level, leader.program.levels, [each.program.levels for each in others])
        if to is None:
            return
        key = (RequestId(f"raise {next(self._numbers)}"), 0)
        data = encode_command_entry(self.now_ms, key[0], encode_command(leader.program.raise_to(to)))
        leader.tell(Propose([(key, data)]))

    def upgrade(self, name: VoterId) -> None:
        """It ends; its next life is of the new version."""
        assert self._upgrade_to is not None
        self.crash(name)
        self.voters[name].program = self._upgrade_to

    def ask_read(self, name: VoterId) -> object:
        key = f"r{next(self._numbers)}"
        voter = self.voters[name]
        voter.asked[key] = max((done.index for done in self.acknowledged.values()), default=0)
        self.history.asks_to_look(key, self.now_ms)
        voter.tell(AskRead(key))
        return key

    def looked(self, key: object, projects: dict[str, str]) -> None:
        self.reads_done += 1
        self.history.looked(key, projects, self.now_ms)

    def change(self, name: VoterId, voters: frozenset[VoterId], learners: frozenset[VoterId]) -> None:
        key = f"g{next(self._numbers)}"
        self.voters[name].tell(ProposeConfiguration(key, voters, learners))

    def transfer(self, name: VoterId, to: VoterId) -> None:
        self.voters[name].tell(Transfer(to))

    # ---- chaos

    def strikes(self, chance: float) -> bool:
        return self.is_faulty and self.rng.random() < chance

    def trouble(self, for_ms: int) -> None:
        """Faults and users, a decision for each voter each 100 ms."""
        self.is_faulty = True
        for step in range(for_ms // 100):
            for name, voter in tuple(self.voters.items()):
                if not voter.is_disowned:
                    self._trouble_one(name, voter)
            if len(self.voters) > 1 and self.rng.random() < self.faults.cut / 10:
                self._cut_something()
            if step % 3 == 0:
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
        if rng.random() < faults.disk / 10:
            self.misfortune.strike(voter)
            if voter.node is None:
                return
        if self._upgrade_to is not None:
            if voter.program is not self._upgrade_to and rng.random() < faults.upgrade / 10:
                self.upgrade(name)
                return
            if voter.node.role is Role.LEADER and rng.random() < RAISES:
                self.raise_if_due()
        if rng.random() < faults.pause / 10:
            voter.pause(rng.choice((50, 400, 2_000)))
        if rng.random() < faults.compact / 10:
            voter.compact()
        if voter.node is not None and voter.node.leader_id is not None and rng.random() < faults.gone / 10:
            voter.tell(LeaderGone(voter.node.leader_id))
        if voter.node is not None and voter.node.role is Role.LEADER:
            for _ in range(rng.randrange(3)):
                self.propose(name, rng.randrange(1, 4))
            if rng.random() < 0.5:
                self.ask_read(name)
            if rng.random() < faults.change / 10:
                self._change_something(name)
            if rng.random() < faults.transfer / 10:
                self.transfer(name, rng.choice(sorted(self.voters)))  # also who cannot be heard

    def _change_something(self, leader: VoterId) -> None:
        names = self._sound_names()
        if self._upgrade_to is not None and not self.strikes(self.faults.stranger):
            level = self.voters[leader].level
            names = [name for name in names if self.voters[name].program.levels.can(level)]
        self.rng.shuffle(names)
        size = self.rng.choice((1, 2, 3, 3, 5))
        cut = self.rng.randrange(len(names) + 1)
        self.change(leader, frozenset(names[:size]), frozenset(names[size:][:cut]))

    def _sound_names(self) -> list[VoterId]:
        return sorted(name for name, voter in self.voters.items() if voter.is_sound)

    def _cut_something(self) -> None:
        names = sorted(self.voters)
        match self.rng.randrange(4):
            case 0:
                self.cuts = set()
            case 1:
                one, other = self.rng.sample(names, 2)
                self.cuts.add((one, other))  # one way only
            case 2:
                leader = self.leader()
                alone = self.rng.choice(
                    names if leader is None else [*names, *names, *[leader.me] * len(names)]
                )
                self.split([alone], [name for name in names if name != alone])
            case _:
                self.rng.shuffle(names)
                at = self.rng.randrange(1, len(names))
                self.split(names[:at], names[at:])

    def heal(self) -> None:
        """All cables whole, all powered on."""
        self.is_faulty = False
        self.cuts = set()
        for name, voter in tuple(self.voters.items()):
            voter.mend_disk()
            if voter.node is None and not voter.is_disowned:
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
            and self.voters[name].applied_index == node.commit_index
            for name in node.configuration.members
        )

    def check_settled(self) -> None:
        """Everybody holds the same rows, and what anybody was told is in them."""
        leader = self.leader()
        assert leader is not None
        assert leader.node is not None
        rows = leader.rows()
        for name in leader.node.configuration.members:
            member = self.voters[name]
            for table, content in member.rows().items():
                assert content == rows[table], f"{name} holds other {table} than {leader.me}"
            assert member.node is not None
            assert member.node.configuration == leader.node.configuration, f"{name} counts other voters"
            self.bystander.check_mark(member.node)
        self._check_acknowledged(leader)
        for name, voter in self.voters.items():
            if voter.is_disowned:
                assert name not in leader.node.configuration.members, f"{name} is not replaced"
                continue
            assert voter.node is not None
            assert not voter.node.counters["refused.second_leader"]

    def check_history(self) -> None:
        """All that anybody was told is what one store with one user at a time could have said."""
        finding = self.history.check()
        assert finding.verdict is Verdict.LINEARIZABLE, str(finding)

    def _check_acknowledged(self, leader: SimVoter) -> None:
        """Each was told once what happened, however often it was asked; and it is still known."""
        first: dict[RequestId, Outcome] = {}
        for done in self.acknowledged.values():
            assert self.bystander.committed[LogIndex(done.index)].term == done.term
            known = first.setdefault(done.request_id, done.outcome)
            told = (done.outcome.index, done.outcome.result, done.outcome.rejection)
            assert told == (known.index, known.result, known.rejection), f"{done.request_id} happened twice"
        requests = dict(leader.of("requests", "request_id", "log_index"))
        for request_id, outcome in first.items():
            assert requests[request_id] == outcome.index, f"{request_id} was done and is lost"
        stamps = [time_ms for _, time_ms in leader.of("audit", "log_index", "time_ms")]
        assert stamps == sorted(stamps), "time went back"


def parse_frame(frame: bytes) -> Any:
    plain = unpack(frame)
    assert isinstance(plain, list)
    kind, body = plain
    return from_wire(KINDS[str(kind)], body)
