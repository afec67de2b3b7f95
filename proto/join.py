"""Joining: the token an operator carries, and the two questions asked at a join door. SPEC.md, section 6."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import ClassVar

from proto.certificate import KEY_BYTES, NAME_CHARS_MAX
from proto.codec import pack, unpack_map
from proto.errors import Outcome, WireError
from proto.ids import FabricId, NodeId, TokenId
from proto.membership import BODY_BYTES_MAX, REMOVALS_MAX, SIGNATURE_BYTES, NodeState, Removal, is_node_id
from proto.records import from_wire, to_wire

TOKEN_PREFIX = "fabric1."  # noqa: S105  # the text form's name, not a secret
TOKEN_CHARS_MAX = 4_096
ADDRESSES_MAX = 16
ADDRESS_CHARS_MAX = 255
SECRET_BYTES = 32
FINGERPRINT_BYTES = 32
CHECKSUM_BYTES = 4  # against slips of the hand; who means harm can make a right one
REQUEST_BYTES_MAX = 32 * 1024
REPLY_BYTES_MAX = 1 << 20
REPLY_STATES_BYTES_MAX = 768 * 1024  # gossip tells the rest
SECRET_PERSON = b"fabric-join"  # blake2b personalisation: this hash means nothing elsewhere


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinTokenText:
    """What `fabric token create` prints. Whoever holds it may add a node, so it is a secret."""

    addresses: tuple[str, ...]  # "tcp://ADDR:PORT" of join doors
    door_public: bytes  # CURVE key of the door
    root_fingerprint: bytes  # blake2b-32 of the root's public key
    token_id: TokenId
    secret: bytes
    expires_ms: int  # wall

    def __post_init__(self) -> None:
        if not 0 < len(self.addresses) <= ADDRESSES_MAX:
            raise ValueError("addresses: 1 to 16")
        for address in self.addresses:
            if len(address) > ADDRESS_CHARS_MAX or not address.startswith("tcp://"):
                raise ValueError("addresses must be tcp://ADDR:PORT")
        if len(self.door_public) != KEY_BYTES or len(self.root_fingerprint) != FINGERPRINT_BYTES:
            raise ValueError("door_public and root_fingerprint must be 32 bytes")
        if len(self.secret) != SECRET_BYTES or not 0 < len(self.token_id) <= 64:
            raise ValueError("secret or token_id has the wrong length")

    def __repr__(self) -> str:  # the secret must not reach a log
        return f"JoinTokenText(token_id={self.token_id!r}, addresses={self.addresses!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinRequest:
    """A certificate signing request: who shows the token's secret asks for a certificate over these keys.
    `body` and `signature` are the node's own state (see membership.NodeState), made before it has one."""

    KIND: ClassVar[str] = "join.request"
    token_id: TokenId
    secret: bytes
    root_fingerprint: bytes  # as the token has it: a door of another root refuses before it does anything
    node_id: NodeId
    name: str
    curve_public: bytes
    sign_public: bytes
    body: bytes
    signature: bytes

    def __post_init__(self) -> None:
        if not 0 < len(self.token_id) <= 64 or len(self.secret) != SECRET_BYTES:
            raise ValueError("token_id or secret has the wrong length")
        if len(self.root_fingerprint) != FINGERPRINT_BYTES:
            raise ValueError("root_fingerprint must be 32 bytes")
        if not is_node_id(self.node_id) or not 0 < len(self.name) <= NAME_CHARS_MAX:
            raise ValueError("node_id or name has the wrong length")
        if len(self.curve_public) != KEY_BYTES or len(self.sign_public) != KEY_BYTES:
            raise ValueError("public keys must be 32 bytes")
        if not 0 < len(self.body) <= BODY_BYTES_MAX or len(self.signature) != SIGNATURE_BYTES:
            raise ValueError("body or signature has the wrong length")

    def __repr__(self) -> str:  # the secret must not reach a log
        return f"JoinRequest(token_id={self.token_id!r}, node_id={self.node_id!r}, name={self.name!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinReply:
    """Admitted. `states` are the members known to the door, the new node excepted; `removals` whom the root
    has removed, the newest first: gossip tells the rest."""

    KIND: ClassVar[str] = "join.reply"
    fabric_id: FabricId
    root_public: bytes
    certificate: bytes
    states: tuple[NodeState, ...] = ()
    removals: tuple[Removal, ...] = ()

    def __post_init__(self) -> None:
        if len(self.root_public) != KEY_BYTES:
            raise ValueError("root_public must be 32 bytes")
        if len(self.removals) > REMOVALS_MAX:
            raise ValueError("too many removals")


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingRequest:
    """Asked by a member that no member lets in any more, over a connection made with its own key: does the
    fabric still know me?"""

    KIND: ClassVar[str] = "join.standing"
    node_id: NodeId

    def __post_init__(self) -> None:
        if not is_node_id(self.node_id):
            raise ValueError("node_id has the wrong length")


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingReply:
    """`removals`: the root's own word that it was removed, else empty. All else is only this door's word."""

    KIND: ClassVar[str] = "join.standing_reply"
    is_member: bool
    removals: tuple[Removal, ...] = ()

    def __post_init__(self) -> None:
        if len(self.removals) > 1:
            raise ValueError("removals: at most one")


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinRefusal:
    KIND: ClassVar[str] = "join.refusal"
    code: str
    message: str
    outcome: Outcome

    def __post_init__(self) -> None:
        if len(self.code) > 128 or len(self.message) > 2_000:
            raise ValueError("code or message too long")


def token_text(token: JoinTokenText) -> str:
    """One line without spaces, safe in a shell: `fabric1.` and base64url without padding."""
    return sealed(pack(to_wire(token)))


def sealed(frame: bytes) -> str:
    """The text form of a token's record: with its checksum, so that a mangled copy is noticed before it
    causes any traffic."""
    return TOKEN_PREFIX + base64.urlsafe_b64encode(frame + _checksum(frame)).rstrip(b"=").decode()


def _checksum(frame: bytes) -> bytes:
    return hashlib.blake2b(frame, digest_size=CHECKSUM_BYTES).digest()


def parse_token_text(text: str) -> JoinTokenText:
    """Raises WireError: `not_a_token`, `malformed`, `bad_field`. Never echoes the text."""
    text = text.strip()
    if not text.startswith(TOKEN_PREFIX) or len(text) > TOKEN_CHARS_MAX:
        raise WireError("not_a_token", f"a join token starts with {TOKEN_PREFIX}")
    data = text.removeprefix(TOKEN_PREFIX)
    try:
        whole = base64.b64decode(data + "=" * (-len(data) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise WireError("malformed", "the join token is damaged; copy it whole") from error
    frame, checksum = whole[:-CHECKSUM_BYTES], whole[-CHECKSUM_BYTES:]
    if checksum != _checksum(frame):
        raise WireError("malformed", "the join token is damaged; copy it whole")
    return from_wire(JoinTokenText, unpack_map(frame), "join token")


def secret_hash(secret: bytes) -> bytes:
    """What the log keeps of a token's secret. 256 random bits need no slow hash."""
    return hashlib.blake2b(secret, digest_size=32, person=SECRET_PERSON).digest()


def encode_request(request: JoinRequest | StandingRequest) -> bytes:
    return pack({"kind": request.KIND, "body": to_wire(request)}, limit=REQUEST_BYTES_MAX)


def decode_request(frame: bytes) -> JoinRequest | StandingRequest:
    """Raises WireError."""
    value = unpack_map(frame, limit=REQUEST_BYTES_MAX)
    kinds: dict[str, type[JoinRequest] | type[StandingRequest]] = {
        JoinRequest.KIND: JoinRequest,
        StandingRequest.KIND: StandingRequest,
    }
    kind = kinds.get(str(value.get("kind")))
    if kind is None:
        raise WireError("unknown_kind")
    return from_wire(kind, value.get("body"))


def encode_reply(reply: JoinReply | StandingReply | JoinRefusal) -> bytes:
    return pack({"kind": reply.KIND, "body": to_wire(reply)}, limit=REPLY_BYTES_MAX)


def decode_reply(frame: bytes) -> JoinReply | StandingReply | JoinRefusal:
    """Raises WireError."""
    value = unpack_map(frame, limit=REPLY_BYTES_MAX)
    kinds: dict[str, type[JoinReply] | type[StandingReply] | type[JoinRefusal]] = {
        JoinReply.KIND: JoinReply,
        StandingReply.KIND: StandingReply,
        JoinRefusal.KIND: JoinRefusal,
    }
    kind = kinds.get(str(value.get("kind")))
    if kind is None:
        raise WireError("unknown_kind")
    return from_wire(kind, value.get("body"))
