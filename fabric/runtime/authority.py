"""The fabric's root: says who may be a node. Its key lives with the founder, 0600; everybody can check.

Certificates bind a node id to its CURVE key (links) and its Ed25519 key (words about itself).
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fabric.core.membership.model import NodeRecord
from fabric.core.membership.record import Verify, node_id_of
from fabric.runtime.node_identity import IdentityError, Membership, NodeIdentity, write_private
from proto.certificate import (
    NodeCertificate,
    SignedCertificate,
    certificate_body,
    decode_signed,
    encode_signed,
    parse_certificate_body,
)
from proto.errors import WireError
from proto.ids import FabricId
from proto.join import FINGERPRINT_BYTES
from proto.membership import NodeState

ROOT_FILE = "root.key"
ROOT_KEY_BYTES = 32
CERTIFICATE_LIFE_MS = 10 * 365 * 24 * 3_600 * 1_000  # renewal comes with `fabric node rotate-key`
CLOCK_SKEW_MS = 24 * 3_600 * 1_000  # clocks of new machines are often wrong; keys are what proves
HOST_ROLES = ("host",)  # what a joined node may claim: to carry guests, and no say over others
FOUNDER_ROLES = (*HOST_ROLES, "conductor", "scheduler", "api")


class Authority:
    def __init__(self, key: Ed25519PrivateKey, fabric_id: FabricId) -> None:
        self._key = key
        self.fabric_id = fabric_id

    @property
    def root_public(self) -> bytes:
        return self._key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)

    def issue(
        self,
        *,
        curve_public: bytes,
        sign_public: bytes,
        name: str,
        now_ms: int,
        roles: tuple[str, ...] = HOST_ROLES,
    ) -> bytes:
        """A signed certificate. `roles` are all its owner may ever claim: whoever could claim to conduct
        could give every host orders. Raises WireError `bad_field` for keys or names that cannot be."""
        try:
            certificate = NodeCertificate(
                fabric_id=self.fabric_id,
                node_id=node_id_of(curve_public),
                curve_public=curve_public,
                sign_public=sign_public,
                name=name,
                roles=roles,
                not_before_ms=max(0, now_ms - CLOCK_SKEW_MS),
                not_after_ms=now_ms + CERTIFICATE_LIFE_MS,
                serial=secrets.randbits(63),
            )
        except ValueError as error:
            raise WireError("bad_field", str(error)) from error
        body = certificate_body(certificate)
        return encode_signed(SignedCertificate(body=body, signature=self._key.sign(body)))


def create_authority(directory: Path, fabric_id: FabricId) -> Authority:
    """A new root. Refuses to replace one: that would disown every node."""
    path = directory / ROOT_FILE
    if path.exists():
        raise IdentityError(f"{path} exists: it is the root of a fabric that was founded here")
    key = Ed25519PrivateKey.generate()
    write_private(path, key.private_bytes_raw())
    return Authority(key, fabric_id)


def load_authority(directory: Path, fabric_id: FabricId) -> Authority | None:
    """None on a node that is not the founder."""
    path = directory / ROOT_FILE
    if not path.exists():
        return None
    data = path.read_bytes()
    if len(data) != ROOT_KEY_BYTES:
        raise IdentityError(f"{path}: damaged; restore it from a backup")
    return Authority(Ed25519PrivateKey.from_private_bytes(data), fabric_id)


def root_fingerprint(root_public: bytes) -> bytes:
    return hashlib.blake2b(root_public, digest_size=FINGERPRINT_BYTES).digest()


def read_certificate(
    signed: bytes, *, root_public: bytes, fabric_id: FabricId, now_ms: int
) -> NodeCertificate:
    """The certificate inside, proven. Raises WireError: `bad_certificate` or what its shape lacks."""
    outer = decode_signed(signed)
    try:
        Ed25519PublicKey.from_public_bytes(root_public).verify(outer.signature, outer.body)
    except (InvalidSignature, ValueError) as error:
        raise WireError("bad_certificate", "not signed by this fabric's root") from error
    certificate = parse_certificate_body(outer.body)
    if certificate.fabric_id != fabric_id:
        raise WireError("bad_certificate", "of another fabric")
    if node_id_of(certificate.curve_public) != certificate.node_id:
        raise WireError("bad_certificate", "node_id is not the hash of curve_public")
    if not certificate.not_before_ms <= now_ms < certificate.not_after_ms:
        raise WireError("bad_certificate", "not valid now")
    return certificate


def check_admission(member: Membership, identity: NodeIdentity, *, name: str, now_ms: int) -> None:
    """Whether peers will believe what this node is about to say. Raises IdentityError with the way out:
    they would only ever refuse it in silence."""
    try:
        certificate = read_certificate(
            member.certificate, root_public=member.root_public, fabric_id=member.fabric_id, now_ms=now_ms
        )
    except WireError as error:
        raise IdentityError(
            f"this node's certificate does not hold ({error}); is the clock right? Else restore "
            "fabric.member from a backup, or join again as a new node"
        ) from error
    if certificate.curve_public != identity.curve_public or certificate.sign_public != identity.sign_public:
        raise IdentityError(
            "node.key and fabric.member are of two different nodes; restore both from one backup"
        )
    if certificate.name != name:
        raise IdentityError(
            f"node.name: this node is {certificate.name!r} in its fabric, not {name!r}; set "
            f'name = "{certificate.name}" in [node]'
        )


def verifier(root_public: bytes, fabric_id: FabricId, now_ms: Callable[[], int]) -> Verify:
    """The check membership asks for: is this state its owner's own word, and the owner a node of ours?"""

    def verify(state: NodeState, record: NodeRecord) -> str | None:
        try:
            certificate = read_certificate(
                state.certificate, root_public=root_public, fabric_id=fabric_id, now_ms=now_ms()
            )
        except WireError as error:
            return error.reason
        if certificate.node_id != record.node_id or certificate.curve_public != record.curve_public:
            return "wrong_owner"
        if certificate.name != record.name:
            return "wrong_name"
        if any(claim.role not in certificate.roles for claim in record.roles):
            return "role_not_allowed"
        try:
            Ed25519PublicKey.from_public_bytes(certificate.sign_public).verify(state.signature, state.body)
        except (InvalidSignature, ValueError):
            return "bad_signature"
        return None

    return verify
