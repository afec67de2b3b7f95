"""Node records to signed states and back. Bounds first: a record comes from another machine."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

from fabric.core.membership.model import Capacity, NodeRecord
from proto.certificate import KEY_BYTES, NAME_CHARS_MAX
from proto.errors import WireError
from proto.ids import NodeId
from proto.membership import NUMBER_MAX, Known, NodeState, decode_body, encode_body
from proto.records import from_wire, to_wire

ROLES_MAX = 16
URLS_MAX = 16
LABELS_MAX = 64
TEXT_CHARS_MAX = 256
NODE_ID_BYTES = 16

Sign = Callable[[bytes], bytes]
# Says why a state is not to be believed ("bad_certificate", "bad_signature", ...), None when it is.
# Pure but for the certificate's validity period.
Verify = Callable[[NodeState, NodeRecord], str | None]


@dataclass(frozen=True, slots=True)
class SignedRecord:
    """A record beside the bytes that prove it; `state` is what is relayed, byte for byte."""

    record: NodeRecord
    left: bool
    state: NodeState

    @property
    def order(self) -> tuple[int, int]:
        return (self.record.incarnation, self.record.version)

    @property
    def known(self) -> Known:
        return Known(
            node_id=self.record.node_id, incarnation=self.record.incarnation, version=self.record.version
        )


def node_id_of(curve_public: bytes) -> NodeId:
    """A node is its key: 32 hex digits of blake2b-16."""
    return NodeId(hashlib.blake2b(curve_public, digest_size=NODE_ID_BYTES).hexdigest())


def body_of(record: NodeRecord, *, left: bool = False) -> bytes:
    """The bytes to sign. The certificate travels beside them, so a node can sign its first record
    before it has one. Raises WireError when the record is too long."""
    check_record(record)
    return encode_body(to_wire(replace(record, certificate=b"")), left=left)


def sign_record(record: NodeRecord, sign: Sign, *, left: bool = False) -> SignedRecord:
    body = body_of(record, left=left)
    state = NodeState(certificate=record.certificate, body=body, signature=sign(body))
    return SignedRecord(record, left, state)


def read_state(state: NodeState) -> SignedRecord:
    """Shape and bounds only: nothing in it is proven until `Verify` has spoken. Raises WireError."""
    plain, left = decode_body(state.body)
    record = replace(from_wire(NodeRecord, plain), certificate=state.certificate)
    check_record(record)
    return SignedRecord(record, left, state)


def check_record(record: NodeRecord) -> None:
    """Raises WireError `bad_field` for what no honest node says."""
    if len(record.curve_public) != KEY_BYTES or node_id_of(record.curve_public) != record.node_id:
        raise WireError("bad_field", "node_id is not the hash of curve_public")
    if not 0 < len(record.name) <= NAME_CHARS_MAX:
        raise WireError("bad_field", "name")
    texts = [record.endpoint, record.zone, record.software, *record.api_urls]
    texts += [claim.role for claim in record.roles]
    texts += [text for label in record.labels.items() for text in label]
    if any(len(text) > TEXT_CHARS_MAX for text in texts) or not record.endpoint.startswith("tcp://"):
        raise WireError("bad_field", "a text is too long, or endpoint is not tcp://")
    if len(record.roles) > ROLES_MAX or len(record.api_urls) > URLS_MAX or len(record.labels) > LABELS_MAX:
        raise WireError("bad_field", "too many roles, api_urls or labels")
    numbers = [record.incarnation, record.version]
    numbers += [number for claim in record.roles for number in (claim.fence, claim.since_ms)]
    numbers += [getattr(record.capacity, f.name) for f in fields(Capacity) if f.name != "hypervisor"]
    if any(not 0 <= number <= NUMBER_MAX for number in numbers):
        raise WireError("bad_field", "a number is out of range")
    if len(record.capacity.hypervisor) > TEXT_CHARS_MAX:
        raise WireError("bad_field", "capacity.hypervisor")
