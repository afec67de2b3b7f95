"""The fabric's root: says who may be a node. Its key lives with the voters, 0600; everybody can check.

Certificates bind a node id to its CURVE key (links) and its Ed25519 key (words about itself), for a time.
The id is the hash of the first CURVE key the node ever had; keys may be rotated under it, so it is the
certificate that says whose they are now, and the newest one that counts.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fabric.core.membership.model import NodeRecord
from fabric.core.membership.record import node_id_of
from fabric.runtime.node_identity import IdentityError, Membership, NodeIdentity
from fabric.store.files import write_private
from proto.certificate import (
    NodeCertificate,
    SignedCertificate,
    certificate_body,
    decode_signed,
    encode_signed,
    parse_certificate_body,
)
from proto.errors import WireError
from proto.ids import FabricId, NodeId
from proto.join import FINGERPRINT_BYTES
from proto.membership import NodeState, Removal, decode_removal, encode_removal

ROOT_FILE = "root.key"
ROOT_KEY_BYTES = 32
DAY_MS = 24 * 3_600 * 1_000
CERTIFICATE_LIFE_MS = 90 * DAY_MS  # as a public CA's; a node renews its own from two thirds of it
CLOCK_SKEW_MS = DAY_MS  # clocks of new machines are often wrong; keys are what proves
HOST_ROLES = ("host",)  # what a joined node may claim: to carry guests, and no say over others
FOUNDER_ROLES = (*HOST_ROLES, "conductor", "scheduler", "api")  # and what a voter may claim
CERTIFICATES_REMEMBERED_MAX = 16_384  # each about 1.5 KB; above the largest fabric designed for


class Authority:
    def __init__(
        self, key: Ed25519PrivateKey, fabric_id: FabricId, *, life_ms: int = CERTIFICATE_LIFE_MS
    ) -> None:
        """`life_ms` is how long what it issues is valid."""
        self._key = key
        self._life_ms = life_ms
        self.fabric_id = fabric_id

    @classmethod
    def of(cls, private: bytes, fabric_id: FabricId) -> Authority:
        """Raises WireError `bad_field` for bytes that are no key."""
        try:
            return cls(Ed25519PrivateKey.from_private_bytes(private), fabric_id)
        except ValueError as error:
            raise WireError("bad_field", "root_key: must be 32 bytes") from error

    def private_bytes(self) -> bytes:
        """For another voter, over a link that only it can read. Never to be logged."""
        return self._key.private_bytes_raw()

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
        node_id: NodeId | None = None,
        generation: int = 1,
    ) -> bytes:
        """A signed certificate. `roles` are all its owner may ever claim: whoever could claim to conduct
        could give every host orders. `node_id` None: of a new node, which is named after this key.
        Raises WireError `bad_field` for keys or names that cannot be."""
        try:
            certificate = NodeCertificate(
                fabric_id=self.fabric_id,
                node_id=node_id or node_id_of(curve_public),
                curve_public=curve_public,
                sign_public=sign_public,
                name=name,
                roles=roles,
                not_before_ms=max(0, now_ms - CLOCK_SKEW_MS),
                not_after_ms=now_ms + self._life_ms,
                serial=secrets.randbits(63),
                generation=generation,
            )
        except ValueError as error:
            raise WireError("bad_field", str(error)) from error
        body = certificate_body(certificate)
        return encode_signed(SignedCertificate(body=body, signature=self._key.sign(body)))

    def remove(self, node_id: NodeId, *, now_ms: int) -> Removal:
        """The root's word that this node is no member any more, for ever."""
        body = encode_removal(fabric_id=self.fabric_id, node_id=node_id, removed_ms=now_ms)
        return Removal(body=body, signature=self._key.sign(body))


def create_authority(
    directory: Path, fabric_id: FabricId, *, life_ms: int = CERTIFICATE_LIFE_MS
) -> Authority:
    """A new root. Refuses to replace one: that would disown every node."""
    path = directory / ROOT_FILE
    if path.exists():
        raise IdentityError(f"{path} exists: it is the root of a fabric that was founded here")
    key = Ed25519PrivateKey.generate()
    write_private(path, key.private_bytes_raw())
    return Authority(key, fabric_id, life_ms=life_ms)


def load_authority(directory: Path, fabric_id: FabricId) -> Authority | None:
    """None on a node that never was a voter."""
    path = directory / ROOT_FILE
    if not path.exists():
        return None
    data = path.read_bytes()
    if len(data) != ROOT_KEY_BYTES:
        raise IdentityError(f"{path}: damaged; restore it from a backup")
    return Authority(Ed25519PrivateKey.from_private_bytes(data), fabric_id)


def save_authority(directory: Path, authority: Authority) -> None:
    """Of a node that becomes a voter; durable when this returns. Raises IdentityError where another root is
    here, OSError."""
    known = load_authority(directory, authority.fabric_id)
    if known is None:
        write_private(directory / ROOT_FILE, authority.private_bytes())
    elif known.root_public != authority.root_public:
        raise IdentityError(f"{directory / ROOT_FILE} is the root of another fabric")


def issued_ms(certificate: NodeCertificate) -> int:
    """Wall time of its issue."""
    return certificate.not_before_ms + CLOCK_SKEW_MS


def read_own(signed: bytes) -> NodeCertificate:
    """A certificate from our own rows or files, proven when it came there. Raises WireError when damaged."""
    return parse_certificate_body(decode_signed(signed).body)


def is_signed_by(sign_public: bytes, signature: bytes, data: bytes) -> bool:
    """Whether the holder of that Ed25519 key signed these bytes."""
    try:
        return _holds(Ed25519PublicKey.from_public_bytes(sign_public), signature, data)
    except ValueError:
        return False


def root_fingerprint(root_public: bytes) -> bytes:
    return hashlib.blake2b(root_public, digest_size=FINGERPRINT_BYTES).digest()


def read_certificate(
    signed: bytes, *, root_public: bytes, fabric_id: FabricId, now_ms: int
) -> NodeCertificate:
    """The certificate inside, proven. Raises WireError: `bad_certificate` or what its shape lacks."""
    try:
        root = Ed25519PublicKey.from_public_bytes(root_public)
    except ValueError as error:
        raise WireError("bad_certificate", "the root is not a key") from error
    certificate = _proven_certificate(signed, root, fabric_id)
    if not _is_valid(certificate, now_ms):
        raise WireError("expired_certificate", "not valid now")
    return certificate


def check_admission(member: Membership, identity: NodeIdentity, *, now_ms: int) -> NodeCertificate:
    """The certificate by which peers will believe what this node is about to say. Raises IdentityError with
    the way out where they will not: they would only ever refuse it in silence."""
    try:
        certificate = read_certificate(
            member.certificate, root_public=member.root_public, fabric_id=member.fabric_id, now_ms=now_ms
        )
    except WireError as error:
        raise IdentityError(f"this node's certificate does not hold ({error}); {_way_out(error)}") from error
    certified = (certificate.node_id, certificate.curve_public, certificate.sign_public)
    if certified != (identity.node_id, identity.curve_public, identity.sign_public):
        raise IdentityError(
            "node.key and fabric.member are of two different nodes; restore both from one backup"
        )
    return certificate


def _way_out(error: WireError) -> str:
    if error.reason == "expired_certificate":
        return (
            "is the clock right? If it is, this node was away for longer than its certificate lasts: join "
            "again with a token (`fabric token create` on the conductor, `fabric join TOKEN` here); with its "
            "keys in place it stays the node it was, and its guests stay its own"
        )
    return "restore fabric.member from a backup, or join again as a new node"


@dataclass(frozen=True, slots=True)
class _Proven:
    """A certificate the root signed; whether it is valid *now* is another question."""

    certificate: NodeCertificate
    sign_key: Ed25519PublicKey


class NodeTrust:
    """`fabric.core.membership.trust.Trust` with real keys.

    A certificate is proven once and remembered by its bytes, so that a state costs one signature check."""

    def __init__(
        self, identity: NodeIdentity, *, root_public: bytes, fabric_id: FabricId, now_ms: Callable[[], int]
    ) -> None:
        """`now_ms` is wall time: certificates have a validity period, and nothing else here has."""
        self._identity = identity
        self._root = Ed25519PublicKey.from_public_bytes(root_public)
        self._fabric_id = fabric_id
        self._now_ms = now_ms
        self._proven: OrderedDict[bytes, _Proven] = OrderedDict()

    def use(self, identity: NodeIdentity) -> None:
        """Signs with these keys from now on: the ones the node rotated to."""
        assert identity.node_id == self._identity.node_id
        self._identity = identity

    def sign(self, data: bytes) -> bytes:
        return self._identity.sign(data)

    def doubt(self, state: NodeState, record: NodeRecord) -> str | None:
        try:
            proven = self._prove(state.certificate)
        except WireError as error:
            return error.reason
        certificate = proven.certificate
        if not _is_valid(certificate, self._now_ms()):
            return "expired_certificate"
        if certificate.node_id != record.node_id or certificate.curve_public != record.curve_public:
            return "wrong_owner"
        if certificate.name != record.name:
            return "wrong_name"
        if any(claim.role not in certificate.roles for claim in record.roles):
            return "role_not_allowed"
        if not _holds(proven.sign_key, state.signature, state.body):
            return "bad_signature"
        return None

    def is_spoken_by(self, owner: NodeState, data: bytes, signature: bytes) -> bool:
        try:
            proven = self._prove(owner.certificate)
        except WireError:
            return False
        return _holds(proven.sign_key, signature, data)

    def removed(self, removal: Removal) -> NodeId | None:
        if not _holds(self._root, removal.signature, removal.body):
            return None
        try:
            fabric_id, node_id, _ = decode_removal(removal.body)
        except WireError:
            return None
        return node_id if fabric_id == self._fabric_id else None

    def allows(self, certificate: bytes, role: str) -> bool:
        """Whether the root lets its owner claim that role."""
        try:
            return role in self._prove(certificate).certificate.roles
        except WireError:
            return False

    def is_newer(self, certificate: bytes, known: bytes) -> bool:
        if certificate == known:
            return False
        try:
            one, other = self._prove(certificate).certificate, self._prove(known).certificate
        except WireError:
            return False
        return one.node_id == other.node_id and one.generation > other.generation

    def _prove(self, signed: bytes) -> _Proven:
        """Raises WireError. What does not hold is not remembered: nobody can push out what does."""
        proven = self._proven.get(signed)
        if proven is not None:
            self._proven.move_to_end(signed)
            return proven
        certificate = _proven_certificate(signed, self._root, self._fabric_id)
        try:
            key = Ed25519PublicKey.from_public_bytes(certificate.sign_public)
        except ValueError as error:
            raise WireError("bad_certificate", "sign_public is not a key") from error
        proven = self._proven[signed] = _Proven(certificate, key)
        if len(self._proven) > CERTIFICATES_REMEMBERED_MAX:
            self._proven.popitem(last=False)
        return proven


def _holds(key: Ed25519PublicKey, signature: bytes, data: bytes) -> bool:
    try:
        key.verify(signature, data)
    except InvalidSignature:
        return False
    return True


def _is_valid(certificate: NodeCertificate, now_ms: int) -> bool:
    return certificate.not_before_ms <= now_ms < certificate.not_after_ms


def _proven_certificate(signed: bytes, root: Ed25519PublicKey, fabric_id: FabricId) -> NodeCertificate:
    """What the root says, whenever it is or was valid. Raises WireError."""
    outer = decode_signed(signed)
    if not _holds(root, outer.signature, outer.body):
        raise WireError("bad_certificate", "not signed by this fabric's root")
    certificate = parse_certificate_body(outer.body)
    if certificate.fabric_id != fabric_id:
        raise WireError("bad_certificate", "of another fabric")
    return certificate
