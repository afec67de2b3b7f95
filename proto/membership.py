"""The membership conversation, twenty kinds. See SPEC.md, section 4.

What a node says about itself travels as bytes its owner signed, so anybody may relay it and nobody can
forge it. `proto` checks shapes and bounds; `fabric.core.membership` reads what is inside.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from proto.codec import Plain, pack, unpack_map
from proto.errors import WireError
from proto.ids import NodeId

BODY_BYTES_MAX = 16 * 1024  # a record is about 0.5 KB; labels and URLs may add some
LOAD_BYTES_MAX = 2 * 1024  # the dynamic part: about 0.1 KB
CERTIFICATE_BYTES_MAX = 2 * 1024
REMOVAL_BYTES_MAX = 512
SIGNATURE_BYTES = 64  # Ed25519
ROOT_BYTES = 8
BUCKETS = 256  # of the anti-entropy digest
NODE_ID_CHARS = 32
NODE_ID_BYTES = 16
NUMBER_MAX = 1 << 53  # counters stay exact in every language's numbers
STATES_MAX = 64  # of one message
LOADS_MAX = 512
HOPS_MAX = 64  # of a word that shapes the tree, far more than any tree is deep
REMOVALS_MAX = 256
VERSIONS_MAX = 2_048  # nodes one HAVE, WANT or DIGEST may tell of
VOTES_MAX = 512
VERDICTS_MAX = 128
VERDICT_VOTES_MAX = 8
VERDICT_NUMBER_MAX = 1 << 20  # a refutation begins anew; votes do not cover it, so anybody may claim any
CANDIDATES_MAX = 8
VERSION_NUMBERS = 5


class Presence(StrEnum):
    """What a node says of its own stay."""

    HERE = "here"
    LEAVING = "leaving"  # its agent stops; it may be back within the restart grace
    LEFT = "left"  # for good; the last word of an epoch


class Finding(StrEnum):
    """What one look at a node found."""

    REACHABLE = "reachable"  # it answered
    REFUSED = "refused"  # its machine answers that nobody listens: the process is gone
    SILENT = "silent"  # nothing answers
    STALLED = "stalled"  # something accepts the connection, and the agent does not answer


class Doom(StrEnum):
    """What a verdict says."""

    STALLED = "stalled"
    AGENT_DOWN = "agent_down"
    HOST_DOWN = "host_down"


class DropReason(StrEnum):
    EVICT = "evict"  # room was needed for a neighbour that has to be one: do not ask here again soon
    LEAVE = "leave"
    RESTART = "restart"
    ERROR = "error"  # the link does not carry what it should
    OPTIMISE = "optimise"  # a better or another one is tried


class DigestMode(StrEnum):
    ROOTS = "roots"  # my 256 bucket hashes: answer with the versions in those that differ
    VERSIONS = "versions"  # what I have in these buckets: send what is newer, ask for what is older
    SNAPSHOT = "snapshot"  # I am new: send all


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeState:
    """What a node says about itself, with proof. `body` is `encode_body`; `signature` is over `body`
    with the signing key the certificate names."""

    certificate: bytes
    body: bytes
    signature: bytes

    def __post_init__(self) -> None:
        if not 0 < len(self.certificate) <= CERTIFICATE_BYTES_MAX:
            raise ValueError("certificate is empty or too long")
        if not 0 < len(self.body) <= BODY_BYTES_MAX:
            raise ValueError("body is empty or too long")
        _check_signature(self.signature)

    @property
    def size_bytes(self) -> int:
        return len(self.certificate) + len(self.body) + len(self.signature)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadState:
    """The dynamic part of a node's capacity. Not signed (see DECISIONS): it grants nothing, and an owner that
    hears a word of its own that it never said outbids it. Ordered by (epoch, version)."""

    node_id: NodeId
    epoch: int
    version: int
    body: bytes  # `encode_load`; read when somebody wants to know, relayed as it is

    def __post_init__(self) -> None:
        _check_node_id(self.node_id)
        _check_numbers(self.epoch, self.version)
        if not 0 < len(self.body) <= LOAD_BYTES_MAX:
            raise ValueError("body is empty or too long")

    @property
    def order(self) -> tuple[int, int]:
        return (self.epoch, self.version)


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """The fabric's root says that a node is no member any more, for ever. `body` is `encode_removal`."""

    body: bytes
    signature: bytes  # by the root

    def __post_init__(self) -> None:
        if not 0 < len(self.body) <= REMOVAL_BYTES_MAX:
            raise ValueError("body is empty or too long")
        _check_signature(self.signature)


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """How new somebody's knowledge of one node is: its record is ordered by (epoch, incarnation, version),
    its load by (epoch, load), the verdict about it by `verdict` within (epoch, incarnation)."""

    node_id: NodeId
    epoch: int
    incarnation: int
    version: int
    load: int = 0
    verdict: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """Versions of many nodes, packed: `ids` is 16 bytes a node, `numbers` five numbers a node in the order
    epoch, incarnation, version, load, verdict."""

    ids: bytes = b""
    numbers: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.ids) // NODE_ID_BYTES
        if len(self.ids) % NODE_ID_BYTES or len(self.numbers) != count * VERSION_NUMBERS:
            raise ValueError("ids and numbers do not fit each other")
        if count > VERSIONS_MAX:
            raise ValueError("too many nodes")
        if self.numbers and not (min(self.numbers) >= 0 and max(self.numbers) <= NUMBER_MAX):
            raise ValueError("number out of range")

    @classmethod
    def of(cls, versions: Iterable[Version]) -> Versions:
        ids, numbers = [], []
        for v in versions:
            ids.append(bytes.fromhex(v.node_id))
            numbers += [v.epoch, v.incarnation, v.version, v.load, v.verdict]
        return cls(ids=b"".join(ids), numbers=tuple(numbers))

    def __len__(self) -> int:
        return len(self.ids) // NODE_ID_BYTES

    def __iter__(self) -> Iterator[Version]:
        numbers = self.numbers
        for i in range(len(self)):
            at = i * VERSION_NUMBERS
            yield Version(
                node_id=NodeId(self.ids[i * NODE_ID_BYTES : (i + 1) * NODE_ID_BYTES].hex()),
                epoch=numbers[at],
                incarnation=numbers[at + 1],
                version=numbers[at + 2],
                load=numbers[at + 3],
                verdict=numbers[at + 4],
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """One member's signed word on what it found when it looked at another. `signature` is over
    `vote_body` by the voter's signing key."""

    target: NodeId
    epoch: int
    incarnation: int
    attempt: int  # which look: a later one of the same voter replaces the earlier
    voter: NodeId
    finding: Finding
    signature: bytes

    def __post_init__(self) -> None:
        _check_node_id(self.target)
        _check_node_id(self.voter)
        _check_numbers(self.epoch, self.incarnation, self.attempt)
        _check_signature(self.signature)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Enough votes agree: a member is stalled or down. Proven by the votes it carries; undone by the
    owner's own word of a higher (epoch, incarnation), or by a verdict of a higher `number`."""

    target: NodeId
    epoch: int
    incarnation: int
    number: int  # 1 for the first about this (epoch, incarnation)
    doom: Doom
    votes: tuple[Vote, ...]
    age_ms: int = 0  # since it was reached, as its sender knows; for the life of tombstones

    def __post_init__(self) -> None:
        _check_node_id(self.target)
        _check_numbers(self.epoch, self.incarnation, self.number, self.age_ms)
        if not 0 < self.number <= VERDICT_NUMBER_MAX:
            raise ValueError("number out of range")
        if not 0 < len(self.votes) <= VERDICT_VOTES_MAX:
            raise ValueError("votes: none or too many")

    @property
    def order(self) -> tuple[int, int, int]:
        return (self.epoch, self.incarnation, self.number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """First on a link we dialled: who I am now."""

    KIND: ClassVar[str] = "member.hello"
    state: NodeState
    root: bytes  # hash of all I know
    members: int  # how many nodes that is

    def __post_init__(self) -> None:
        _check_root(self.root)
        _check_numbers(self.members)


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """The answer to a hello: who I am, and what I hold against you, if anything."""

    KIND: ClassVar[str] = "member.welcome"
    state: NodeState
    root: bytes
    members: int
    you: tuple[NodeState, ...] = ()  # what I know of you, when it is newer than what you said
    you_age_ms: int = 0  # how long ago that was said, as far as I know
    verdict: tuple[Verdict, ...] = ()  # and the verdict about you that you have to refute

    def __post_init__(self) -> None:
        _check_root(self.root)
        _check_numbers(self.members, self.you_age_ms)
        if len(self.you) > 1 or len(self.verdict) > 1:
            raise ValueError("you, verdict: at most one")


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkReq:
    """Be my neighbour. `priority`: I must have you (ring), or have too few."""

    KIND: ClassVar[str] = "member.link_req"
    priority: bool
    degree: int

    def __post_init__(self) -> None:
        _check_numbers(self.degree)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkOk:
    KIND: ClassVar[str] = "member.link_ok"
    degree: int

    def __post_init__(self) -> None:
        _check_numbers(self.degree)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkNo:
    """I have enough neighbours; try these."""

    KIND: ClassVar[str] = "member.link_no"
    candidates: tuple[NodeId, ...] = ()

    def __post_init__(self) -> None:
        if len(self.candidates) > CANDIDATES_MAX:
            raise ValueError("too many candidates")


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkDrop:
    KIND: ClassVar[str] = "member.link_drop"
    reason: DropReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """Once a second to every neighbour, the same bytes to all: I am here, my record is this new, all I
    know hashes to `root`."""

    KIND: ClassVar[str] = "member.beat"
    seq: int
    epoch: int
    incarnation: int
    version: int
    lag_ms: int  # how late my own event loop is
    root: bytes
    members: int
    degree: int  # how many neighbours I have: of two that have too many, one lets go
    mark: int = 0  # of the last word heard that shaped the broadcast tree, and of its hops

    def __post_init__(self) -> None:
        _check_root(self.root)
        _check_numbers(self.seq, self.epoch, self.incarnation, self.version, self.lag_ms)
        _check_numbers(self.members, self.degree, self.mark)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    KIND: ClassVar[str] = "member.ping"
    nonce: int

    def __post_init__(self) -> None:
        _check_numbers(self.nonce)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """The answer to a ping; to a ping-req: the target answered."""

    KIND: ClassVar[str] = "member.ack"
    nonce: int
    lag_ms: int
    root: bytes
    members: int

    def __post_init__(self) -> None:
        _check_root(self.root)
        _check_numbers(self.nonce, self.lag_ms, self.members)


@dataclass(frozen=True, slots=True, kw_only=True)
class Nack:
    """The answer to a ping-req: I looked, and the target did not answer me either."""

    KIND: ClassVar[str] = "member.nack"
    nonce: int
    finding: Finding

    def __post_init__(self) -> None:
        _check_numbers(self.nonce)


@dataclass(frozen=True, slots=True, kw_only=True)
class PingReq:
    """Look at `target` for me."""

    KIND: ClassVar[str] = "member.ping_req"
    nonce: int
    target: NodeId

    def __post_init__(self) -> None:
        _check_numbers(self.nonce)
        _check_node_id(self.target)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """News, by the owner or relayed. `eager`: pushed along the tree, so a duplicate is answered by
    a prune; else it was asked for. `hops`: not 0 for one load alone that shapes the tree: how many links it
    has come with this one. `ages_ms`: for each state, how long ago its owner left (0: it has not)."""

    KIND: ClassVar[str] = "member.state"
    states: tuple[NodeState, ...] = ()
    ages_ms: tuple[int, ...] = ()
    loads: tuple[LoadState, ...] = ()
    removals: tuple[Removal, ...] = ()
    eager: bool = False
    hops: int = 0

    def __post_init__(self) -> None:
        if self.hops and not (self.eager and len(self.loads) == 1 and not self.states and not self.removals):
            raise ValueError("hops: for one load alone, pushed")
        if self.hops > HOPS_MAX:
            raise ValueError("hops: too many")
        too_many = len(self.states) > STATES_MAX or len(self.loads) > LOADS_MAX
        if too_many or len(self.removals) > REMOVALS_MAX:
            raise ValueError("too many states, loads or removals")
        if len(self.ages_ms) not in (0, len(self.states)):
            raise ValueError("ages_ms: none, or one for each state")
        _check_numbers(self.hops, *self.ages_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Have:
    """What I got lately, for links the payload did not go to."""

    KIND: ClassVar[str] = "member.have"
    versions: Versions


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """Send me these nodes' news if yours are newer than this. `graft`: and push to me from now on."""

    KIND: ClassVar[str] = "member.want"
    versions: Versions
    graft: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Prune:
    """I had that already: tell me of news from now on, and keep the payload."""

    KIND: ClassVar[str] = "member.prune"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """I could not reach these. Whoever is asked by the rendezvous rule looks and votes; the accused
    refutes."""

    KIND: ClassVar[str] = "member.suspect"
    votes: tuple[Vote, ...]

    def __post_init__(self) -> None:
        if not 0 < len(self.votes) <= VOTES_MAX:
            raise ValueError("votes: none or too many")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ballot:
    """I looked too, and this is what I found."""

    KIND: ClassVar[str] = "member.vote"
    votes: tuple[Vote, ...]

    def __post_init__(self) -> None:
        if not 0 < len(self.votes) <= VOTES_MAX:
            raise ValueError("votes: none or too many")


@dataclass(frozen=True, slots=True, kw_only=True)
class Down:
    KIND: ClassVar[str] = "member.down"
    verdicts: tuple[Verdict, ...]

    def __post_init__(self) -> None:
        if not 0 < len(self.verdicts) <= VERDICTS_MAX:
            raise ValueError("verdicts: none or too many")


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave:
    """The owner's farewell, for a restart or for good."""

    KIND: ClassVar[str] = "member.leave"
    state: NodeState


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """Anti-entropy. `roots`: 256 hashes of 8 bytes; `buckets`: one byte each, those `versions` covers."""

    KIND: ClassVar[str] = "member.digest"
    mode: DigestMode
    roots: bytes = b""
    buckets: bytes = b""
    versions: Versions = Versions()  # immutable

    def __post_init__(self) -> None:
        if len(self.roots) not in (0, BUCKETS * ROOT_BYTES) or len(self.buckets) > BUCKETS:
            raise ValueError("roots or buckets of a wrong length")
        if (self.mode is DigestMode.ROOTS) != bool(self.roots):
            raise ValueError("roots belong to mode roots")


MembershipMessage = (
    Hello
    | Welcome
    | LinkReq
    | LinkOk
    | LinkNo
    | LinkDrop
    | Beat
    | Ping
    | Ack
    | Nack
    | PingReq
    | State
    | Have
    | Want
    | Prune
    | Suspect
    | Ballot
    | Down
    | Leave
    | Digest
)
_ALL: tuple[type[MembershipMessage], ...] = (
    Hello,
    Welcome,
    LinkReq,
    LinkOk,
    LinkNo,
    LinkDrop,
    Beat,
    Ping,
    Ack,
    Nack,
    PingReq,
    State,
    Have,
    Want,
    Prune,
    Suspect,
    Ballot,
    Down,
    Leave,
    Digest,
)
KINDS: dict[str, type[MembershipMessage]] = {kind.KIND: kind for kind in _ALL}


def encode_body(record: Mapping[str, object], *, presence: Presence) -> bytes:
    """The signed part of a state: the owner's record and whether it stays."""
    return pack({"record": dict(record), "presence": presence.value}, limit=BODY_BYTES_MAX)


def decode_body(body: bytes) -> tuple[dict[str, Plain], Presence]:
    """Raises WireError."""
    value = unpack_map(body, limit=BODY_BYTES_MAX)
    record, presence = value.get("record"), value.get("presence", Presence.HERE.value)
    if not isinstance(record, dict):
        raise WireError("bad_field", "state body: record")
    try:
        return record, Presence(presence)  # type: ignore[arg-type]
    except ValueError as error:
        raise WireError("bad_field", "state body: presence") from error


def encode_load(load: Mapping[str, object]) -> bytes:
    return pack(dict(load), limit=LOAD_BYTES_MAX)


def decode_load(body: bytes) -> dict[str, Plain]:
    """Raises WireError."""
    return unpack_map(body, limit=LOAD_BYTES_MAX)


def encode_removal(*, fabric_id: str, node_id: NodeId, removed_ms: int) -> bytes:
    return pack(
        {"fabric_id": fabric_id, "node_id": node_id, "removed_ms": removed_ms}, limit=REMOVAL_BYTES_MAX
    )


def decode_removal(body: bytes) -> tuple[str, NodeId, int]:
    """(fabric_id, node_id, removed_ms). Raises WireError."""
    value = unpack_map(body, limit=REMOVAL_BYTES_MAX)
    fabric_id, node_id, removed_ms = value.get("fabric_id"), value.get("node_id"), value.get("removed_ms")
    if not isinstance(fabric_id, str) or not isinstance(node_id, str) or type(removed_ms) is not int:
        raise WireError("bad_field", "removal")
    if not is_node_id(node_id) or not 0 <= removed_ms <= NUMBER_MAX:
        raise WireError("bad_field", "removal")
    return fabric_id, NodeId(node_id), removed_ms


def vote_body(
    *, target: NodeId, epoch: int, incarnation: int, attempt: int, voter: NodeId, finding: Finding
) -> bytes:
    """The bytes a voter signs."""
    return pack(["fabric-vote-1", target, epoch, incarnation, attempt, voter, finding.value])


def is_node_id(text: str) -> bool:
    return len(text) == NODE_ID_CHARS and not text.strip("0123456789abcdef")


def _check_node_id(text: str) -> None:
    if not is_node_id(text):
        raise ValueError("node id must be 32 hex digits")


def _check_numbers(*numbers: int) -> None:
    for number in numbers:
        if not 0 <= number <= NUMBER_MAX:
            raise ValueError("number out of range")


def _check_root(root: bytes) -> None:
    if len(root) != ROOT_BYTES:
        raise ValueError("root must be 8 bytes")


def _check_signature(signature: bytes) -> None:
    if len(signature) != SIGNATURE_BYTES:
        raise ValueError("signature must be 64 bytes")
