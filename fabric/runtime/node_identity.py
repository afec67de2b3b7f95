"""Who this node is: its keys, its epoch, and what it was told when it joined. On disk, 0600.

The node id is the hash of the first CURVE public key, made on first start and never of a host name. Keys may
be rotated under it (`rotation.py`); then `node.key` names the id. The epoch grows by one at each start and
is durable before the first frame leaves.
"""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import zmq
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from zmq.utils import z85

from fabric.core.membership.record import node_id_of
from fabric.errors import FabricError, Outcome
from fabric.store.files import write_private
from proto.codec import pack, unpack_map
from proto.errors import WireError
from proto.ids import Epoch, FabricId, NodeId
from proto.membership import NUMBER_MAX, is_node_id
from proto.records import from_wire, to_wire

KEYS_FILE, EPOCH_FILE, MEMBERSHIP_FILE = "node.key", "epoch", "fabric.member"
OLD_EPOCH_FILE = "incarnation"  # its name in first light
BOOT_ID_BYTES = 8
NO_ID = NodeId("")
_EPOCH_LOCK = threading.Lock()  # it is read, raised and written as one
FILE_BYTES_MAX = 1 << 20
KEY_BYTES = 32

R = TypeVar("R")


class IdentityError(FabricError):
    """The node's own files are missing or damaged; the message names the file and the way out."""

    code = "fabric.identity"
    outcome = Outcome.NOT_DONE


@dataclass(frozen=True, slots=True)
class NodeKeys:
    """The secrets. `node_id` is NO_ID with a node's first keys, which it is named after."""

    curve_secret: bytes
    curve_public: bytes
    sign_secret: bytes
    node_id: NodeId = NO_ID

    def __post_init__(self) -> None:
        if {len(self.curve_secret), len(self.curve_public), len(self.sign_secret)} != {KEY_BYTES}:
            raise ValueError("keys must be 32 bytes")
        if self.node_id and not is_node_id(self.node_id):
            raise ValueError("node_id must be 32 hex digits")

    def __repr__(self) -> str:  # the secrets must not reach a log
        return "NodeKeys()"


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    node_id: NodeId
    curve_public: bytes  # 32 bytes
    curve_secret: bytes
    sign_public: bytes  # Ed25519
    _sign_key: Ed25519PrivateKey

    def sign(self, data: bytes) -> bytes:
        """An Ed25519 signature, 64 bytes."""
        return self._sign_key.sign(data)

    def __repr__(self) -> str:  # the secrets must not reach a log
        return f"NodeIdentity({self.node_id})"


@dataclass(frozen=True, slots=True)
class Membership:
    """What a node keeps of having been admitted."""

    fabric_id: FabricId
    root_public: bytes
    certificate: bytes
    founder: bool = False


def load_or_create(directory: Path) -> NodeIdentity:
    """This node's keys; made on first use. Raises IdentityError.

    Never made anew for a node that is a member: new keys would be another node."""
    path = directory / KEYS_FILE
    if not path.exists():
        if (directory / MEMBERSHIP_FILE).exists():
            raise IdentityError(
                f"{path} is missing, and this node is a member already; restore it from a backup, or remove "
                f"{directory} and join again as a new node"
            )
        save_keys(directory, new_keys())
    return identity_of(read_private(path, NodeKeys))


def new_keys(node_id: NodeId = NO_ID) -> NodeKeys:
    """Fresh secrets: of a new node, or for the node of that id."""
    public, secret = zmq.curve_keypair()
    sign_secret = Ed25519PrivateKey.generate().private_bytes_raw()
    return NodeKeys(z85.decode(secret), z85.decode(public), sign_secret, node_id)


def save_keys(directory: Path, keys: NodeKeys) -> None:
    write_private(directory / KEYS_FILE, pack(to_wire(keys)))


def identity_of(keys: NodeKeys) -> NodeIdentity:
    sign_key = Ed25519PrivateKey.from_private_bytes(keys.sign_secret)
    public = sign_key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    node_id = keys.node_id or node_id_of(keys.curve_public)
    return NodeIdentity(node_id, keys.curve_public, keys.curve_secret, public, sign_key)


def new_boot_id() -> bytes:
    """Tells this process from any other that has the same keys."""
    return secrets.token_bytes(BOOT_ID_BYTES)


def next_epoch(directory: Path, *, at_least: int = 0) -> Epoch:
    """One higher than ever before, durable when it returns."""
    path, old = directory / EPOCH_FILE, directory / OLD_EPOCH_FILE
    with _EPOCH_LOCK:
        last = max(_number_in(path), _number_in(old))
        value = max(last + 1, at_least)
        write_private(path, str(value).encode())
        old.unlink(missing_ok=True)
    return Epoch(value)


def has_run(directory: Path) -> bool:
    """Whether an agent was ever started over this directory."""
    return (directory / EPOCH_FILE).exists() or (directory / OLD_EPOCH_FILE).exists()


def _number_in(path: Path) -> int:
    try:
        number = int(path.read_text()) if path.exists() else 0
    except ValueError as error:
        raise IdentityError(f"{path}: not a number; restore it, or remove it to start at one") from error
    if not 0 <= number < NUMBER_MAX:
        raise IdentityError(f"{path}: {number} is out of range; restore it, or remove it to start at one")
    return number


def save_membership(directory: Path, membership: Membership) -> None:
    write_private(directory / MEMBERSHIP_FILE, pack(to_wire(membership)))


def load_membership(directory: Path) -> Membership | None:
    """None when this node was never admitted to a fabric. Raises IdentityError."""
    path = directory / MEMBERSHIP_FILE
    return read_private(path, Membership) if path.exists() else None


def read_private(path: Path, kind: type[R]) -> R:
    """A record from a file of ours. Raises IdentityError, which names the file."""
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise IdentityError(f"{path}: too large to be what it should be")
        return from_wire(kind, unpack_map(path.read_bytes()), path.name)
    except OSError as error:
        raise IdentityError(f"{path}: cannot be read ({error.strerror})") from error
    except WireError as error:
        raise IdentityError(f"{path}: damaged ({error}); restore it from a backup") from error
