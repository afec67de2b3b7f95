"""What the core is told and what it asks for. Values only; `fabric.runtime.membership_loop` performs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from fabric.core.membership.model import Capacity, Member, MemberState, RoleClaim
from proto.ids import Incarnation, NodeId
from proto.membership import MembershipMessage, NodeState


class Timer(StrEnum):
    BEAT = "beat"
    CHECK = "check"


@dataclass(frozen=True, slots=True)
class Started:
    """First event, once. `known`: members remembered from before the restart."""

    known: tuple[NodeState, ...] = ()


@dataclass(frozen=True, slots=True)
class Received:
    """`sender` is proven by its link's CURVE key, never taken from the message."""

    sender: NodeId
    message: MembershipMessage


@dataclass(frozen=True, slots=True)
class TimerFired:
    timer: Timer


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalChanged:
    """This node has something new to say about itself. None: stays. Capacity alone waits for the next
    beat, so it is published at most once a second; anything else goes out at once."""

    roles: tuple[RoleClaim, ...] | None = None
    api_urls: tuple[str, ...] | None = None
    capacity: Capacity | None = None
    labels: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class PeerAdmitted:
    """The authority let a node in: here is its first state, certificate included. Also for what the
    join reply told a new node about its peers."""

    state: NodeState


@dataclass(frozen=True, slots=True)
class PeerRemoved:
    """The log says this node is no longer a member. Its link is cut; it cannot come back."""

    node_id: NodeId


@dataclass(frozen=True, slots=True)
class LinkUp:
    node_id: NodeId


@dataclass(frozen=True, slots=True)
class LinkLost:
    """The link broke or could not be made. `refused`: the peer's machine answered that nobody listens,
    so the process is gone and the machine is not. Told again at each failed redial."""

    node_id: NodeId
    refused: bool


@dataclass(frozen=True, slots=True)
class LeaveRequested:
    """This node leaves for good. Afterwards only silence is owed."""


Event = (
    Started
    | Received
    | TimerFired
    | LocalChanged
    | PeerAdmitted
    | PeerRemoved
    | LinkUp
    | LinkLost
    | LeaveRequested
)


@dataclass(frozen=True, slots=True)
class Peer:
    node_id: NodeId
    endpoint: str
    curve_public: bytes


@dataclass(frozen=True, slots=True)
class Send:
    """Best effort: a lost message is repaired by digests."""

    to: NodeId
    message: MembershipMessage


@dataclass(frozen=True, slots=True)
class StartTimer:
    """The loop owes us TimerFired(timer) after `after_ms`."""

    timer: Timer
    after_ms: int


@dataclass(frozen=True, slots=True)
class SetPeers:
    """Exactly these may speak to us."""

    peers: tuple[Peer, ...]


@dataclass(frozen=True, slots=True)
class Notify:
    """A member's state or record changed in a way somebody may act on. `before` None: it is new.
    A removed member is told as LEFT."""

    member: Member
    before: MemberState | None


@dataclass(frozen=True, slots=True)
class Persist:
    """What must survive a restart: all members, tombstones too, own state not."""

    states: tuple[NodeState, ...]


@dataclass(frozen=True, slots=True)
class RaiseIncarnation:
    """The fabric remembers a newer self than ours (our disk was lost or restored): make this durable."""

    incarnation: Incarnation


@dataclass(frozen=True, slots=True)
class Refused:
    """A message, or one state in it, was not believed. A fact for counters and logs."""

    sender: NodeId
    reason: str


Effect = Send | StartTimer | SetPeers | Notify | Persist | RaiseIncarnation | Refused
