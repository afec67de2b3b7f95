"""What the autopilot is told, and the steps it answers with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fabric.core.raft.configuration import Configuration
from fabric.core.voters.config import VotersConfig
from fabric.core.voters.levels import BEFORE_LEVELS, Levels
from proto.ids import NodeId, VoterId


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberFacts:
    """What the leader knows of a member first hand."""

    lag: int  # entries its log is behind the leader's last
    answered_ms: int  # when it last answered the leader, on the clock of `now_ms`


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """What the fabric says of a node."""

    node_id: NodeId
    name: str
    zone: str = ""
    rack: str = ""  # within its zone
    is_alive: bool
    is_eligible: bool = True  # it may carry a copy of the log, and is not about to leave
    since_ms: int = 0  # alive since
    levels: Levels = BEFORE_LEVELS  # what its program can apply
    is_halted: bool = False  # its voter met something that it cannot


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    configuration: Configuration
    me: VoterId  # the leader
    members: Mapping[VoterId, MemberFacts]  # the leader itself may be missing; who else is, never answered
    nodes: tuple[NodeFacts, ...]  # of the whole fabric, the leader's own too
    level: int = 1  # of the group
    program: Levels = BEFORE_LEVELS  # the leader's own
    is_changing: bool = False  # a change of the configuration is not committed yet
    wanted: frozenset[NodeId] = frozenset()  # the operator's word: these first
    unwanted: frozenset[NodeId] = frozenset()  # ... and these never; stronger than `wanted`
    config: VotersConfig = field(default_factory=VotersConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddLearner:
    """Owed: invite that node. It answers with its voter id, a new one if its disk has none; if that is no
    member yet, propose the configuration of that moment with it as one learner more."""

    node_id: NodeId
    reason: str  # for the log and the event, a sentence without a full stop


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconfigure:
    """Owed: propose exactly this configuration, at once. Who is in neither set is no member any more."""

    voters: frozenset[VoterId]
    learners: frozenset[VoterId]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RaiseLevel:
    """Owed: propose the entry that raises the level to `to`."""

    to: int
    reason: str


Step = AddLearner | Reconfigure | RaiseLevel
