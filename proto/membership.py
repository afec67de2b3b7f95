"""The membership conversation. See SPEC.md, section 4.

A node's state travels as bytes its owner signed, so anybody may relay it and nobody can forge it.
`proto` checks shapes and bounds; `fabric.core.membership` reads the record inside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from proto.codec import Plain, pack, unpack_map
from proto.errors import WireError
from proto.ids import NodeId

BODY_BYTES_MAX = 16 * 1024  # a record is about 0.5 KB; labels and URLs may add some
CERTIFICATE_BYTES_MAX = 2 * 1024
SIGNATURE_BYTES = 64  # Ed25519
ROOT_BYTES = 8
NODE_ID_CHARS = 32
NUMBER_MAX = 1 << 53  # incarnations and versions stay exact in every language's numbers
STATES_MAX = 64  # of one message
KNOWN_MAX = 2_048  # entries of one digest


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
        if len(self.signature) != SIGNATURE_BYTES:
            raise ValueError("signature must be 64 bytes")

    @property
    def size_bytes(self) -> int:
        return len(self.certificate) + len(self.body) + len(self.signature)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """How new somebody's knowledge of one node is. Ordered by (incarnation, version)."""

    node_id: NodeId
    incarnation: int
    version: int

    def __post_init__(self) -> None:
        if len(self.node_id) != NODE_ID_CHARS:
            raise ValueError("node_id must be 32 hex digits")
        _check_number(self.incarnation)
        _check_number(self.version)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """First on a new link: who I am now."""

    KIND: ClassVar[str] = "member.hello"
    state: NodeState
    root: bytes  # hash of all I know
    members: int  # how many nodes that is

    def __post_init__(self) -> None:
        _check_root(self.root)
        _check_number(self.members)


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """Once a second on each link: I am here, my record is this new, all I know hashes to `root`."""

    KIND: ClassVar[str] = "member.beat"
    incarnation: int
    version: int
    root: bytes
    members: int

    def __post_init__(self) -> None:
        _check_root(self.root)
        for number in (self.incarnation, self.version, self.members):
            _check_number(number)


@dataclass(frozen=True, slots=True, kw_only=True)
class States:
    """News, by the owner or relayed. A node that leaves says so in its own last state."""

    KIND: ClassVar[str] = "member.states"
    states: tuple[NodeState, ...]

    def __post_init__(self) -> None:
        if len(self.states) > STATES_MAX:
            raise ValueError("too many states")


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """All I know, by number. The receiver sends what is newer there; `answer` asks it for its own digest
    where it lacks something."""

    KIND: ClassVar[str] = "member.digest"
    entries: tuple[Known, ...]
    answer: bool

    def __post_init__(self) -> None:
        if len(self.entries) > KNOWN_MAX:
            raise ValueError("too many entries")


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """Send me these nodes' states if yours are newer than this."""

    KIND: ClassVar[str] = "member.want"
    entries: tuple[Known, ...]

    def __post_init__(self) -> None:
        if len(self.entries) > KNOWN_MAX:
            raise ValueError("too many entries")


MembershipMessage = Hello | Beat | States | Digest | Want
KINDS: dict[str, type[MembershipMessage]] = {kind.KIND: kind for kind in (Hello, Beat, States, Digest, Want)}


def encode_body(record: Mapping[str, object], *, left: bool) -> bytes:
    """The signed part of a state: the owner's record and whether it has left for good."""
    return pack({"record": dict(record), "left": left}, limit=BODY_BYTES_MAX)


def decode_body(body: bytes) -> tuple[dict[str, Plain], bool]:
    """Raises WireError."""
    value = unpack_map(body, limit=BODY_BYTES_MAX)
    record, left = value.get("record"), value.get("left", False)
    if not isinstance(record, dict) or not isinstance(left, bool):
        raise WireError("bad_field", "state body")
    return record, left


def _check_number(number: int) -> None:
    if not 0 <= number <= NUMBER_MAX:
        raise ValueError("number out of range")


def _check_root(root: bytes) -> None:
    if len(root) != ROOT_BYTES:
        raise ValueError("root must be 8 bytes")
