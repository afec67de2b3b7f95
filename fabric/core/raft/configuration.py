"""Who votes and who only listens, and what a majority of them is.

While a change is under way two sets count, and a majority of each is needed (joint consensus; thesis, 4.3).
Single-server changes are not used: two of them by different leaders can lose a commit (Ongaro, raft-dev,
10 July 2015).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from proto.codec import pack, unpack_map
from proto.errors import WireError
from proto.ids import LogIndex, NodeId, VoterId, node_of
from proto.raft import VOTERS_MAX, ConfigurationChange
from proto.records import from_wire, to_wire

NO_VOTERS: frozenset[VoterId] = frozenset()


class Tally(Enum):
    WON = auto()
    LOST = auto()
    OPEN = auto()


@dataclass(frozen=True, slots=True)
class Configuration:
    voters: frozenset[VoterId] = NO_VOTERS
    outgoing: frozenset[VoterId] = NO_VOTERS  # the voters before, while both count
    learners: frozenset[VoterId] = NO_VOTERS  # are sent everything and never asked; may still be outgoing

    @property
    def is_joint(self) -> bool:
        return bool(self.outgoing)

    @property
    def all_voters(self) -> frozenset[VoterId]:
        return self.voters | self.outgoing

    @property
    def members(self) -> frozenset[VoterId]:
        return self.voters | self.outgoing | self.learners

    @property
    def nodes(self) -> frozenset[NodeId]:
        """Those of all members."""
        return frozenset(map(node_of, self.members))

    def committed(self, match: Callable[[VoterId], LogIndex]) -> LogIndex:
        """The highest index that a majority holds; of both sets when there are two."""
        index = _majority_holds(self.voters, match)
        return min(index, _majority_holds(self.outgoing, match)) if self.outgoing else index

    def tally(self, votes: Mapping[VoterId, bool]) -> Tally:
        outcomes = {_tally(self.voters, votes)}
        if self.outgoing:
            outcomes.add(_tally(self.outgoing, votes))
        if Tally.LOST in outcomes:
            return Tally.LOST
        return Tally.OPEN if Tally.OPEN in outcomes else Tally.WON

    def towards(self, voters: frozenset[VoterId], learners: frozenset[VoterId]) -> Configuration:
        """The joint configuration on the way to these."""
        assert not self.is_joint
        return Configuration(voters, self.voters, learners)

    def settled(self) -> Configuration:
        """What the joint one leads to."""
        return Configuration(self.voters, NO_VOTERS, self.learners)


def encode_configuration(configuration: Configuration) -> bytes:
    return pack(
        to_wire(
            ConfigurationChange(
                voters=tuple(sorted(configuration.voters)),
                outgoing=tuple(sorted(configuration.outgoing)),
                learners=tuple(sorted(configuration.learners)),
            )
        )
    )


def decode_configuration(data: bytes) -> Configuration:
    """Raises WireError."""
    change = from_wire(ConfigurationChange, unpack_map(data))
    sets = (frozenset(change.voters), frozenset(change.outgoing), frozenset(change.learners))
    if not sets[0] or max(map(len, sets)) > VOTERS_MAX:
        raise WireError("bad_field", "voters: none, or too many")
    return Configuration(*sets)


def encode_known(configuration: Configuration) -> bytes:
    """Also where none is known yet: whoever joins learns it from the log."""
    return encode_configuration(configuration) if configuration.members else b""


def decode_known(data: bytes) -> Configuration:
    """Raises WireError."""
    return decode_configuration(data) if data else Configuration()


def _majority_holds(voters: frozenset[VoterId], match: Callable[[VoterId], LogIndex]) -> LogIndex:
    held = sorted((match(voter) for voter in voters), reverse=True)
    return held[len(held) // 2]


def _tally(voters: frozenset[VoterId], votes: Mapping[VoterId, bool]) -> Tally:
    needed = len(voters) // 2 + 1
    granted = sum(votes.get(voter, False) for voter in voters)
    refused = sum(voter in votes for voter in voters) - granted
    if granted >= needed:
        return Tally.WON
    return Tally.LOST if refused > len(voters) - needed else Tally.OPEN
