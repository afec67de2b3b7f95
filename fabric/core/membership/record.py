"""Node records to signed states and back. Bounds first: a record comes from another machine."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

from fabric.core.membership.model import Inventory, Load, NodeRecord
from proto.certificate import KEY_BYTES, NAME_CHARS_MAX
from proto.errors import WireError
from proto.ids import NodeId
from proto.membership import (
    NODE_ID_BYTES,
    NUMBER_MAX,
    LoadState,
    NodeState,
    Presence,
    decode_body,
    decode_load,
    encode_body,
    encode_load,
    is_node_id,
)
from proto.records import from_wire, to_wire

ROLES_MAX = 16
URLS_MAX = 16
LABELS_MAX = 64
TEXT_CHARS_MAX = 256
BOOT_ID_BYTES = 8


@dataclass(frozen=True, slots=True)
class SignedRecord:
    """A record beside the bytes that prove it; `state` is what is relayed, byte for byte."""

    record: NodeRecord
    presence: Presence
    state: NodeState

    @property
    def order(self) -> tuple[int, int, int]:
        return self.record.order


def node_id_of(curve_public: bytes) -> NodeId:
    """A node is named after its first key: 32 hex digits of blake2b-16."""
    return NodeId(hashlib.blake2b(curve_public, digest_size=NODE_ID_BYTES).hexdigest())


def body_of(record: NodeRecord, *, presence: Presence = Presence.HERE) -> bytes:
    """The bytes to sign. The certificate travels beside them, so a node can sign its first record
    before it has one. Raises WireError when the record is too long."""
    check_record(record)
    return encode_body(to_wire(replace(record, certificate=b"")), presence=presence)


def sign_record(
    record: NodeRecord, sign: Callable[[bytes], bytes], *, presence: Presence = Presence.HERE
) -> SignedRecord:
    body = body_of(record, presence=presence)
    state = NodeState(certificate=record.certificate, body=body, signature=sign(body))
    return SignedRecord(record, presence, state)


def read_state(state: NodeState) -> SignedRecord:
    """Shape and bounds only: nothing in it is proven until `Trust.doubt` has spoken. Raises WireError."""
    plain, presence = decode_body(state.body)
    record = replace(from_wire(NodeRecord, plain), certificate=state.certificate)
    check_record(record)
    return SignedRecord(record, presence, state)


def write_load(node_id: NodeId, epoch: int, version: int, load: Load) -> LoadState:
    return LoadState(node_id=node_id, epoch=epoch, version=version, body=encode_load(to_wire(load)))


def read_load(state: LoadState | None) -> Load:
    """What is not readable counts as not said: a load grants nothing."""
    if state is None:
        return Load()
    try:
        load = from_wire(Load, decode_load(state.body))
    except WireError:
        return Load()
    numbers = (load.vcpus_used, load.memory_mb_used, load.disk_gb_used, load.servers, load.load_milli)
    return load if all(0 <= number <= NUMBER_MAX for number in numbers) else Load()


def check_record(record: NodeRecord) -> None:
    """Raises WireError `bad_field` for what no honest node says. Whose keys these are, the certificate
    says."""
    if len(record.curve_public) != KEY_BYTES or not is_node_id(record.node_id):
        raise WireError("bad_field", "node_id or curve_public")
    if not 0 < len(record.name) <= NAME_CHARS_MAX:
        raise WireError("bad_field", "name")
    if len(record.boot_id) not in (0, BOOT_ID_BYTES):
        raise WireError("bad_field", "boot_id")
    texts = [record.endpoint, record.zone, record.rack, record.software, *record.api_urls]
    texts += [record.inventory.hypervisor]
    texts += [claim.role for claim in record.roles]
    texts += [text for label in record.labels.items() for text in label]
    if any(len(text) > TEXT_CHARS_MAX for text in texts) or not record.endpoint.startswith("tcp://"):
        raise WireError("bad_field", "a text is too long, or endpoint is not tcp://")
    if len(record.roles) > ROLES_MAX or len(record.api_urls) > URLS_MAX or len(record.labels) > LABELS_MAX:
        raise WireError("bad_field", "too many roles, api_urls or labels")
    numbers = [record.epoch, record.incarnation, record.version, record.uptime_ms]
    numbers += [number for claim in record.roles for number in (claim.fence, claim.since_ms)]
    numbers += [getattr(record.inventory, f.name) for f in fields(Inventory) if f.name != "hypervisor"]
    if any(not 0 <= number <= NUMBER_MAX for number in numbers):
        raise WireError("bad_field", "a number is out of range")
