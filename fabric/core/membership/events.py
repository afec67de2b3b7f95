"""What the core is told and what it asks for. Values only; `fabric.runtime.membership_loop` performs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fabric.core.membership.model import Capacity, Member, MemberState, RoleClaim
from proto.ids import Epoch, NodeId
from proto.membership import Finding, MembershipMessage, NodeState, Removal

# ---- in


@dataclass(frozen=True, slots=True)
class Started:
    """First event, once. What is remembered from before the restart, or was told by the join door."""

    known: tuple[NodeState, ...] = ()
    removals: tuple[Removal, ...] = ()


@dataclass(frozen=True, slots=True)
class Received:
    """`sender` is proven by its link's CURVE key, never taken from the message."""

    sender: NodeId
    message: MembershipMessage


@dataclass(frozen=True, slots=True)
class Woke:
    """`Membership.due_ms` has come. Being late is noticed and forgiven to others; being early is harmless."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalChanged:
    """This node has something new to say about itself. None: stays. A capacity's dynamic part waits for the
    rate budget unless `urgent`; anything else goes out at once."""

    roles: tuple[RoleClaim, ...] | None = None
    api_urls: tuple[str, ...] | None = None
    capacity: Capacity | None = None
    labels: Mapping[str, str] | None = None
    extra: Mapping[str, str] | None = None  # all that is said beside the numbers of the dynamic part
    certificate: bytes | None = None  # renewed, or of rotated keys; `Trust.sign` follows the new key already
    curve_public: bytes | None = None  # with a certificate of rotated keys
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class PeerAdmitted:
    """The authority let a node in: here is its first state, certificate included."""

    state: NodeState


@dataclass(frozen=True, slots=True)
class PeerRemoved:
    """The root says this node is no longer a member. It cannot come back."""

    removal: Removal


@dataclass(frozen=True, slots=True)
class LinkUp:
    """Frames can be sent to that peer now; pinned or dialled on demand."""

    node_id: NodeId


@dataclass(frozen=True, slots=True)
class LinkLost:
    """The link broke or could not be made. `refused`: the peer's machine answered that nobody listens,
    so the process is gone and the machine is not. Told again at each failed redial of a pinned link."""

    node_id: NodeId
    refused: bool


@dataclass(frozen=True, slots=True)
class Knocked:
    """The answer to `Knock`: REACHABLE (somebody accepts), REFUSED or SILENT."""

    node_id: NodeId
    finding: Finding


@dataclass(frozen=True, slots=True)
class LeaveRequested:
    """This node's agent stops: for a while (`for_good` False, the others wait out the restart grace) or for
    good. Afterwards only silence is owed."""

    for_good: bool = False


Event = (
    Started
    | Received
    | Woke
    | LocalChanged
    | PeerAdmitted
    | PeerRemoved
    | LinkUp
    | LinkLost
    | Knocked
    | LeaveRequested
)

# ---- out


@dataclass(frozen=True, slots=True)
class AdmitPeer:
    """That node may speak to us from now on, under this key, and is reached at this endpoint. Replaces what
    was said of it before."""

    node_id: NodeId
    endpoint: str
    curve_public: bytes


@dataclass(frozen=True, slots=True)
class ExpelPeer:
    """That node may not speak to us any more: cut its connections now."""

    node_id: NodeId


@dataclass(frozen=True, slots=True)
class PinLinks:
    """Keep a link dialled, and redialled, to exactly these. Others are dialled on demand and closed when
    idle."""

    node_ids: frozenset[NodeId]


@dataclass(frozen=True, slots=True)
class Send:
    """Best effort: what is lost is repaired. Of news about one node only the newest needs to wait in a
    queue."""

    to: NodeId
    message: MembershipMessage


@dataclass(frozen=True, slots=True)
class Broadcast:
    """The same message to several links: encode it once. Best effort."""

    to: tuple[NodeId, ...]
    message: MembershipMessage


@dataclass(frozen=True, slots=True)
class Knock:
    """Try one bare TCP connection to the node's endpoint and tell `Knocked` within about 0.5 s."""

    node_id: NodeId
    endpoint: str


@dataclass(frozen=True, slots=True)
class Notify:
    """A member's state or record changed in a way somebody may act on. `before` None: it is new.
    A removed member is told as FORGOTTEN."""

    member: Member
    before: MemberState | None


@dataclass(frozen=True, slots=True)
class Persist:
    """What must survive a restart; at most once each few seconds, and before a last word. Own state not."""

    states: tuple[NodeState, ...]
    removals: tuple[Removal, ...]


@dataclass(frozen=True, slots=True)
class RaiseEpoch:
    """The fabric remembers a newer self than ours (our disk was lost or restored): make this durable."""

    epoch: Epoch


@dataclass(frozen=True, slots=True)
class Refused:
    """A message, or one part of it, was not believed. A fact for counters and logs."""

    sender: NodeId
    reason: str


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Another process uses this node's identity and has the better right to it, or the root removed us. This
    node must stop taking part; `endpoint` is where the other one lives ("" when removed)."""

    reason: str
    endpoint: str


Effect = (
    AdmitPeer
    | ExpelPeer
    | PinLinks
    | Send
    | Broadcast
    | Knock
    | Notify
    | Persist
    | RaiseEpoch
    | Refused
    | Quarantine
)
