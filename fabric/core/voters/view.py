"""One look: what is believed of each member and node at this moment.

A member is *gone* when it is dead or lost. *Dead* needs two witnesses: it has not answered the leader for
`dead_after_ms`, and its node is not alive in the fabric's eyes. Gossip alone may be wrong about a voter that
answers, and the leader alone may be the one that is cut off. *Lost* needs none: another voter answers from
the same node, which only happens when the disk of the first was lost.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from fabric.core.voters.config import SIZES, VotersConfig
from fabric.core.voters.facts import Facts, NodeFacts
from fabric.core.voters.levels import next_level
from proto.ids import NodeId, VoterId, node_of


def majority(size: int) -> int:
    return size // 2 + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    facts: Facts
    now_ms: int
    awake_ms: int  # since when this leader has looked without a pause: silence before it proves nothing
    caught_up_ms: Mapping[VoterId, int]  # since when; who is not caught up is missing
    able_ms: Mapping[NodeId, int]  # when each node could last have voted
    by_id: Mapping[NodeId, NodeFacts]

    @property
    def config(self) -> VotersConfig:
        return self.facts.config

    @property
    def voters(self) -> frozenset[VoterId]:
        return self.facts.configuration.voters

    @property
    def learners(self) -> frozenset[VoterId]:
        return self.facts.configuration.learners - self.facts.configuration.all_voters

    # ---- nodes

    def node(self, voter: VoterId) -> NodeFacts:
        """Who is not in the fabric any more is neither alive nor eligible."""
        node_id = node_of(voter)
        known = self.by_id.get(node_id)
        return known or NodeFacts(node_id=node_id, name=node_id[:8], is_alive=False, is_eligible=False)

    def nodes(self, voters: Iterable[VoterId]) -> list[NodeFacts]:
        return [self.node(voter) for voter in sorted(voters)]

    def could_vote(self, node: NodeFacts) -> bool:
        return node.is_alive and self.is_fit(node) and not self.is_unwanted(node.node_id)

    def is_fit(self, node: NodeFacts) -> bool:
        """It may hold the log, and its program can apply what is in it."""
        return node.is_eligible and self.can_apply(node)

    def can_apply(self, node: NodeFacts) -> bool:
        return node.levels.can(self.facts.level) and not node.is_halted

    def is_settled(self, node: NodeFacts) -> bool:
        """It could vote, and did not start a moment ago."""
        return self.could_vote(node) and self.now_ms - node.since_ms >= self.config.stable_ms

    def is_wanted(self, node_id: NodeId) -> bool:
        return node_id in self.facts.wanted and not self.is_unwanted(node_id)

    def is_unwanted(self, node_id: NodeId) -> bool:
        return node_id in self.facts.unwanted

    @property
    def able(self) -> int:
        """How many nodes could vote."""
        return sum(map(self.could_vote, self.facts.nodes))

    @property
    def lately_able(self) -> int:
        """... or could within the time after which the dead are given up: nothing ends for a blink."""
        return sum(
            self.is_fit(node)
            and not self.is_unwanted(node.node_id)
            and self.now_ms - self.able_ms[node.node_id] < self.config.dead_after_ms
            for node in self.facts.nodes
        )

    def size_for(self, nodes: int) -> int:
        """How many should vote when `nodes` could: 3 from three, 5 from five, so that any two may die."""
        return self.config.target or max(size for size in SIZES if size <= max(1, nodes))

    # ---- members

    def silent_ms(self, voter: VoterId) -> int:
        known = self.facts.members.get(voter)
        if voter == self.facts.me:
            return 0
        return self.now_ms - max(self.awake_ms, known.answered_ms if known is not None else self.awake_ms)

    def answers(self, voter: VoterId) -> bool:
        return voter == self.facts.me or self._answered_ago_ms(voter) < self.config.quiet_after_ms

    def is_dead(self, voter: VoterId) -> bool:
        return self.silent_ms(voter) >= self.config.dead_after_ms and not self.node(voter).is_alive

    def is_lost(self, voter: VoterId) -> bool:
        return not self.answers(voter) and any(
            node_of(other) == node_of(voter) and self.answers(other)
            for other in self.facts.configuration.members
            if other != voter
        )

    def is_gone(self, voter: VoterId) -> bool:
        return self.is_dead(voter) or self.is_lost(voter)

    def is_caught_up(self, voter: VoterId) -> bool:
        """For `stable_ms`, without a break."""
        since = self.caught_up_ms.get(voter)
        return since is not None and self.now_ms - since >= self.config.stable_ms

    def is_ready(self, voter: VoterId) -> bool:
        """A learner that may vote from this moment on."""
        return (
            voter in self.learners
            and self.is_caught_up(voter)
            and self.is_settled(self.node(voter))
            and all(self.is_gone(other) for other in self.voters if node_of(other) == node_of(voter))
        )

    def stays(self, voter: VoterId) -> bool:
        """A member that nothing speaks against."""
        node = self.node(voter)
        is_fit = self.is_fit(node) or voter == self.facts.me
        return is_fit and not self.is_gone(voter) and not self.is_unwanted(node.node_id)

    # ---- levels

    @property
    def next_level(self) -> int | None:
        """To which the group can go now; None: it stays."""
        holders = [
            self.node(member).levels for member in self.facts.configuration.members if member != self.facts.me
        ]
        return next_level(self.facts.level, self.facts.program, holders)

    @property
    def holding_back(self) -> list[VoterId]:
        """Members that keep the group from the next level, which the leader could apply."""
        to = self.facts.level + 1
        if not self.facts.program.can(to):
            return []
        others = self.facts.configuration.members - {self.facts.me}
        return [member for member in sorted(others) if not self.node(member).levels.can(to)]

    # ---- majorities

    def is_well(self, voter: VoterId) -> bool:
        """Both witnesses say so: an answer may be a moment old, and the fabric may know of a death first."""
        return voter == self.facts.me or (self.answers(voter) and self.node(voter).is_alive)

    def has_quorum(self, voters: Collection[VoterId]) -> bool:
        """A majority of them is well now."""
        return sum(map(self.is_well, voters)) >= majority(len(voters))

    def spare(self, voters: Collection[VoterId]) -> int:
        """How many of them may die before their majority is lost; below zero: it is."""
        return sum(not self.is_gone(voter) for voter in voters) - majority(len(voters))

    def _answered_ago_ms(self, voter: VoterId) -> int:
        known = self.facts.members.get(voter)
        return self.now_ms - known.answered_ms if known is not None else self.config.dead_after_ms
