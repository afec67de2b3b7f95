"""A model of a fabric around the autopilot: nodes join, die, come back, lose their disk, are cut off and
leave; leaders change; invitations and changes take their time, or fail.

It checks at every step what no step may break, and at the end that the voters are what they should be. The
logs are only numbers here: what Raft does with a configuration is `raft_world`'s to check.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from fabric.core.raft.configuration import NO_VOTERS, Configuration
from fabric.core.voters.autopilot import Autopilot
from fabric.core.voters.facts import AddLearner, Facts, MemberFacts, NodeFacts, Step
from proto.ids import NodeId, VoterId, node_of, voter_of

SECOND_MS = 1_000
NODES_MAX = 9
LAG_MAX = 5_000
CATCH_UP_A_SECOND = 500
ELECTION_SECONDS = 2


@dataclass(slots=True)
class Node:
    facts: NodeFacts
    disk: int = 1  # which one; a voter lives as long as its disk
    is_up: bool = True
    is_cut_off: bool = False  # from the leader, not from the fabric

    @property
    def voter(self) -> VoterId:
        return voter_of(self.facts.node_id, f"{self.disk:08x}")


class VotersWorld:
    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.now_ms = 1_000_000
        self.nodes: dict[NodeId, Node] = {}
        self.configuration = Configuration()
        self.me: VoterId | None = None
        self.autopilot = Autopilot()
        self.lags: dict[VoterId, int] = {}
        self.answered_ms: dict[VoterId, int] = {}
        self.ending: tuple[int, Configuration] | None = None  # when a joint one may settle, and as what
        self.answers_at: dict[NodeId, int] = {}  # invitations under way
        self.leaderless = 0  # seconds
        self.unwanted: frozenset[NodeId] = frozenset()
        self.wanted: frozenset[NodeId] = frozenset()
        self.steps: list[tuple[int, Step]] = []
        self.loss_percent = 0  # of invitations, and of changes that the log refuses
        first = self.join()
        self.configuration = Configuration(frozenset({first.voter}))
        self._elect(first.voter)

    # ---- what happens to it

    def join(self) -> Node:
        node_id = NodeId(f"{self.rng.getrandbits(64):016x}")
        facts = NodeFacts(
            node_id=node_id,
            name=f"h{len(self.nodes)}",
            zone=self.rng.choice(("z1", "z1", "z2", "z3")),
            rack=self.rng.choice(("r1", "r2")),
            is_alive=True,
            since_ms=self.now_ms,
        )
        node = self.nodes[node_id] = Node(facts)
        return node

    def misfortune(self) -> None:
        """One thing that may really happen. Never so many at once that no majority could come back."""
        rng = self.rng
        node = rng.choice(list(self.nodes.values()))
        match rng.choice(
            ("join", "die", "die", "return", "return", "wipe", "cut", "heal", "leave", "wish", "lead")
        ):
            case "join" if len(self.nodes) < NODES_MAX:
                self.join()
            case "die" if node.is_up:
                self._down(node)
            case "return" if not node.is_up:
                self._up(node)
            case "wipe" if not node.is_up and self._may_lose(node):
                node.disk += 1
            case "cut" if node.voter != self.me:
                node.is_cut_off = True
            case "heal":
                node.is_cut_off = False
            case "leave" if not node.is_up and node.facts.node_id not in map(
                node_of, self.configuration.members
            ):
                del self.nodes[node.facts.node_id]
            case "wish":
                ids = sorted(self.nodes)
                self.unwanted = frozenset(rng.sample(ids, rng.choice((0, 0, 1))))
                self.wanted = frozenset(rng.sample(ids, rng.choice((0, 0, 1))))
            case "lead" if not self.configuration.is_joint:
                self.me = None
            case _:
                pass

    def calm(self) -> None:
        """Everybody who still has a disk comes back, and the operator wishes nothing more."""
        self.loss_percent = 0
        self.wanted = self.unwanted = frozenset()
        for node in self.nodes.values():
            node.is_cut_off = False
            if not node.is_up:
                self._up(node)

    def second(self) -> Step | None:
        self.now_ms += SECOND_MS
        self._follow()
        self._settle()
        self._answer_invitations()
        if self.me is None or not self._answers(self.me):
            self.me = None
            self._try_election()
            return None
        if not self._has_quorum(self.configuration):
            self.me = None  # CheckQuorum: it steps down
            return None
        step = self.autopilot.decide(self.facts(self.me), self.now_ms)
        if step is not None:
            self.steps.append((self.now_ms, step))
            self._check(step)
            self._obey(step)
        return step

    def facts(self, me: VoterId) -> Facts:
        return Facts(
            configuration=self.configuration,
            me=me,
            members={
                member: MemberFacts(lag=self.lags.get(member, LAG_MAX), answered_ms=self.answered_ms[member])
                for member in self.configuration.members
            },
            nodes=tuple(node.facts for node in self.nodes.values()),
            wanted=self.wanted,
            unwanted=self.unwanted,
        )

    # ---- what must hold

    def _check(self, step: Step) -> None:
        now = self.configuration
        assert not now.is_joint, "a step while a change is under way"
        if isinstance(step, AddLearner):
            assert step.node_id not in self.unwanted
            return
        assert step.voters, "nobody votes"
        assert not step.voters & step.learners
        assert step.voters | step.learners <= now.members, "who is no member begins as a learner"
        assert self.me in step.voters or node_of(self.me or VoterId("")) in self.unwanted, (
            "the leader is removed"
        )
        for voter in step.voters - now.voters:
            assert voter in now.learners
            assert self.lags[voter] < 250, "who is not caught up votes"
            assert node_of(voter) not in self.unwanted
        well = sum(map(self._seems_well, step.voters))
        assert 2 * well > len(step.voters), "the living are no majority any more"
        if step.voters != now.voters:
            assert len(step.voters) in (1, 3, 5)
        for voter in now.voters - step.voters:
            node = self.nodes.get(node_of(voter))
            is_there = node is not None and node.is_up and node.voter == voter and not node.is_cut_off
            if is_there and not self.unwanted and not self.wanted and len(step.voters) >= len(now.voters):
                assert self._crowd(now.voters) > self._crowd(step.voters), f"{voter} is replaced for nothing"

    def check_converged(self) -> None:
        """All nodes live: as many vote as should, everybody is who it says, nobody is left over."""
        nodes, now = len(self.nodes), self.configuration
        assert not now.is_joint
        assert len(now.voters) == (5 if nodes >= 5 else 3 if nodes >= 3 else 1), now
        assert len(now.learners) == min(2, nodes - len(now.voters)), now
        assert now.members <= {node.voter for node in self.nodes.values()}, (
            "somebody without a disk is a member"
        )

    def _crowd(self, voters: frozenset[VoterId]) -> int:
        zones = [self.nodes[node_of(voter)].facts.zone for voter in voters if node_of(voter) in self.nodes]
        return max(map(zones.count, zones), default=0)

    # ---- how it goes on

    def _answers(self, voter: VoterId) -> bool:
        node = self.nodes.get(node_of(voter))
        return (
            node is not None
            and node.is_up
            and node.voter == voter
            and not (node.is_cut_off and voter != self.me)
        )

    def _seems_well(self, voter: VoterId) -> bool:
        """Nobody could know better: also who was cut off a moment ago."""
        node = self.nodes.get(node_of(voter))
        is_up = node is not None and node.is_up and node.voter == voter
        return is_up and self.now_ms - self.answered_ms[voter] < 3 * SECOND_MS

    def _has_quorum(self, configuration: Configuration) -> bool:
        sets = [configuration.voters, *([configuration.outgoing] if configuration.outgoing else [])]
        return all(2 * sum(map(self._answers, each)) > len(each) for each in sets)

    def _may_lose(self, node: Node) -> bool:
        """A majority of each set keeps its disk; as in life, more is for a backup."""
        sets = [
            self.configuration.voters,
            *([self.configuration.outgoing] if self.configuration.is_joint else []),
        ]
        return all(
            2 * sum(self._has_disk(voter) and voter != node.voter for voter in each) > len(each)
            for each in sets
        )

    def _has_disk(self, voter: VoterId) -> bool:
        node = self.nodes.get(node_of(voter))
        return node is not None and node.voter == voter

    def _down(self, node: Node) -> None:
        node.is_up = False
        node.facts = replace(node.facts, is_alive=False)

    def _up(self, node: Node) -> None:
        node.is_up = True
        node.facts = replace(node.facts, is_alive=True, since_ms=self.now_ms)

    def _follow(self) -> None:
        for member in sorted(self.configuration.members):
            if self._answers(member) and self.me is not None:
                self.answered_ms[member] = self.now_ms
                self.lags[member] = max(0, self.lags.get(member, LAG_MAX) - CATCH_UP_A_SECOND)
            else:
                self.lags[member] = min(LAG_MAX, self.lags.get(member, LAG_MAX) + CATCH_UP_A_SECOND // 10)

    def _try_election(self) -> None:
        self.leaderless += 1
        stands = [voter for voter in sorted(self.configuration.all_voters) if self._answers(voter)]
        if self.leaderless >= ELECTION_SECONDS and stands and self._has_quorum(self.configuration):
            fit = [voter for voter in stands if voter in self.configuration.voters] or stands
            self._elect(self.rng.choice(fit))

    def _elect(self, voter: VoterId) -> None:
        self.me, self.leaderless = voter, 0
        self.autopilot = Autopilot()
        self.lags[voter] = 0
        for member in self.configuration.members:
            self.answered_ms[member] = self.now_ms

    def _obey(self, step: Step) -> None:
        rng = self.rng
        if rng.randrange(100) < self.loss_percent:
            return
        if isinstance(step, AddLearner):
            self.answers_at[step.node_id] = self.now_ms + rng.randrange(8) * SECOND_MS
        elif step.voters == self.configuration.voters:
            self._become(Configuration(step.voters, NO_VOTERS, step.learners))
        else:
            self._become(self.configuration.towards(step.voters, step.learners))
            self.ending = (self.now_ms + rng.randrange(20) * SECOND_MS, self.configuration.settled())

    def _settle(self) -> None:
        if self.ending is None or self.me is None or self.now_ms < self.ending[0]:
            return
        if self._has_quorum(self.configuration):
            self._become(self.ending[1])
            self.ending = None
            if self.me not in self.configuration.voters:
                self.me = None

    def _answer_invitations(self) -> None:
        due = [node_id for node_id, at in self.answers_at.items() if self.now_ms >= at]
        for node_id in due:
            del self.answers_at[node_id]
            node = self.nodes.get(node_id)
            if (
                node is None
                or not node.is_up
                or node.is_cut_off
                or self.me is None
                or self.configuration.is_joint
            ):
                continue
            now = self.configuration
            if node.voter not in now.members:
                self.lags[node.voter] = LAG_MAX
                self._become(Configuration(now.voters, NO_VOTERS, now.learners | {node.voter}))

    def _become(self, configuration: Configuration) -> None:
        self.configuration = configuration
        for member in configuration.members:
            self.answered_ms.setdefault(member, self.now_ms)
