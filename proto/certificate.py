"""A node's certificate: what the fabric's root says about a node. See SPEC.md, section 3.

Only shapes live here; signing and checking need cryptography and live in `fabric.runtime.authority`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from proto.codec import pack, unpack_map
from proto.ids import FabricId, NodeId
from proto.membership import CERTIFICATE_BYTES_MAX, NUMBER_MAX, SIGNATURE_BYTES, is_node_id
from proto.records import from_wire, to_wire

KEY_BYTES = 32  # CURVE and Ed25519 public keys
NAME_CHARS_MAX = 63  # a DNS label: it becomes a host name in the API
ROLES_MAX = 32
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCertificate:
    """Binds a node id to its keys, its name and the roles it may take.

    Of two certificates of one node the one with the higher `generation` counts, and the other is spent."""

    fabric_id: FabricId
    node_id: NodeId  # blake2b-16 of the first curve_public this node ever had
    curve_public: bytes  # its links
    sign_public: bytes  # Ed25519: its words about itself
    name: str
    roles: tuple[str, ...]
    not_before_ms: int  # wall
    not_after_ms: int  # wall
    serial: int  # random, 63 bits
    generation: int = 1  # grows by one at each issue

    def __post_init__(self) -> None:
        if not is_node_id(self.node_id):
            raise ValueError("node_id must be 32 hex digits")
        if len(self.curve_public) != KEY_BYTES or len(self.sign_public) != KEY_BYTES:
            raise ValueError("public keys must be 32 bytes")
        if len(self.name) > NAME_CHARS_MAX or not _NAME.fullmatch(self.name):
            raise ValueError("name must have 1 to 63 letters, digits, dots, dashes or underscores")
        if len(self.roles) > ROLES_MAX:
            raise ValueError("too many roles")
        if not self.not_before_ms < self.not_after_ms:
            raise ValueError("not_before_ms must be before not_after_ms")
        if not 0 < self.generation <= NUMBER_MAX:
            raise ValueError("generation must be 1 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedCertificate:
    """`body` is `certificate_body`; `signature` is over exactly these bytes."""

    body: bytes
    signature: bytes

    def __post_init__(self) -> None:
        if len(self.signature) != SIGNATURE_BYTES:
            raise ValueError("signature must be 64 bytes")


def certificate_request_body(
    *, fabric_id: FabricId, node_id: NodeId, curve_public: bytes, sign_public: bytes
) -> bytes:
    """What a member signs to ask for a newer certificate over these keys (SPEC.md, `node.renew`)."""
    return pack(["fabric-csr-1", fabric_id, node_id, curve_public, sign_public])


def certificate_body(certificate: NodeCertificate) -> bytes:
    """Canonical bytes: fields in declared order, so equal certificates give equal bytes."""
    return pack(to_wire(certificate), limit=CERTIFICATE_BYTES_MAX)


def parse_certificate_body(body: bytes) -> NodeCertificate:
    """Raises WireError."""
    return from_wire(NodeCertificate, unpack_map(body, limit=CERTIFICATE_BYTES_MAX))


def encode_signed(signed: SignedCertificate) -> bytes:
    return pack(to_wire(signed), limit=CERTIFICATE_BYTES_MAX)


def decode_signed(frame: bytes) -> SignedCertificate:
    """Raises WireError."""
    return from_wire(SignedCertificate, unpack_map(frame, limit=CERTIFICATE_BYTES_MAX))
