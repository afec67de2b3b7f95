"""Bytes from outside become a message or a WireError, and nothing else; every message survives the wire.

`tests/fuzz` looks further, with atheris; this is what every test run does.
"""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.core.membership.model import Load
from fabric.core.membership.record import read_load, read_state, sign_record
from proto import membership, raft_frames, rpc
from proto.certificate import NodeCertificate, certificate_body, decode_signed, parse_certificate_body
from proto.codec import pack
from proto.envelope import decode, encode, encode_body, fabric_tag, parse
from proto.errors import WireError
from proto.ids import FabricId, NodeId
from proto.join import (
    JoinReply,
    JoinRequest,
    JoinTokenText,
    decode_reply,
    decode_request,
    encode_reply,
    encode_request,
    parse_token_text,
    sealed,
    token_text,
)
from proto.membership import LoadState, NodeState, State, decode_load, decode_removal
from proto.raft import RAFT_MESSAGES
from proto.raft_frames import RaftAddress, raft_body, read_raft
from tests.fixtures.membership_nodes import FakeNode, FakeTrust
from tests.fixtures.wire_values import PLAIN, records

TAG = fabric_tag(FabricId("fuzz"))
KINDS: dict[str, type[Any]] = {**rpc.KINDS, **membership.KINDS}
VOTERS: dict[str, type[Any]] = {kind.KIND: kind for kind in RAFT_MESSAGES}
ALL_KINDS = sorted({*KINDS, *VOTERS})
FIELDS = (*KINDS.values(), *raft_frames.KINDS.values(), RaftAddress)
NAMES = sorted({name for kind in FIELDS for name in kind.__dataclass_fields__} | {"later"})
READERS = (
    decode_request,
    decode_reply,
    decode_load,
    decode_removal,
    decode_signed,
    parse_certificate_body,
    membership.decode_body,
)


def read(frame: bytes) -> None:
    with contextlib.suppress(WireError):
        envelope = decode(frame, TAG)
        if envelope.kind in VOTERS:
            read_raft(envelope)
            return
        message = parse(envelope, KINDS)
        if isinstance(message, State):
            for state in message.states:
                read_state(state)
            for load in message.loads:
                read_load(load)


def test_there_are_twenty_kinds_of_membership_message() -> None:
    assert len(membership.KINDS) == 20


@pytest.mark.parametrize("kind", sorted(KINDS))
@settings(max_examples=30)
@given(data=st.data())
def test_every_kind_survives_the_wire(kind: str, data: st.DataObject) -> None:
    message = data.draw(records(KINDS[kind]))
    frame = encode(message, TAG)
    told = parse(decode(frame, TAG), KINDS)
    assert repr(told) == repr(message)  # `repr`: a NaN in an rpc body equals itself
    assert encode(told, TAG) == frame


@pytest.mark.parametrize("kind", sorted(KINDS))
@settings(max_examples=30)
@given(data=st.data())
def test_a_changed_byte_in_every_kind(kind: str, data: st.DataObject) -> None:
    frame = bytearray(encode(data.draw(records(KINDS[kind])), TAG))
    for _ in range(data.draw(st.integers(1, 3))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    read(bytes(frame))
    read(bytes(frame[: data.draw(st.integers(0, len(frame)))]))


@pytest.mark.parametrize("kind", sorted(VOTERS))
@settings(max_examples=30)
@given(address=records(RaftAddress), data=st.data())
def test_what_voters_say_survives_the_wire(kind: str, address: RaftAddress, data: st.DataObject) -> None:
    message = data.draw(records(VOTERS[kind]))
    frame = encode_body(kind, raft_body(address, message), TAG)
    assert read_raft(decode(frame, TAG)) == (address, message)
    changed = bytearray(frame)
    changed[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    read(bytes(changed))


@given(st.binary(max_size=200))
def test_random_bytes(frame: bytes) -> None:
    read(frame)
    for reader in READERS:
        with contextlib.suppress(WireError):
            reader(frame)


@given(st.sampled_from(ALL_KINDS), st.binary(max_size=200))
@settings(max_examples=300)
def test_random_bytes_after_a_good_head(kind: str, body: bytes) -> None:
    read(b"\x94\x01" + pack(TAG) + pack(kind) + body)


@given(st.sampled_from(ALL_KINDS), st.dictionaries(st.sampled_from(NAMES), PLAIN, max_size=6))
@settings(max_examples=300)
def test_well_formed_envelopes_with_wrong_bodies(kind: str, body: dict[str, object]) -> None:
    read(pack([1, TAG, kind, body]))


@given(PLAIN, PLAIN)
def test_join_bodies(kind: object, body: object) -> None:
    for reader in (decode_request, decode_reply):
        for name in (kind, "join.request", "join.reply", "join.refusal"):
            with contextlib.suppress(WireError):
                reader(pack({"kind": name, "body": body}))


@given(records(JoinRequest), records(JoinReply), records(JoinTokenText), records(NodeCertificate))
@settings(max_examples=30)
def test_what_joining_says_survives(
    request: JoinRequest, reply: JoinReply, token: JoinTokenText, certificate: NodeCertificate
) -> None:
    assert decode_request(encode_request(request)) == request
    assert decode_reply(encode_reply(reply)) == reply
    assert parse_token_text(token_text(token)) == token
    assert parse_certificate_body(certificate_body(certificate)) == certificate


@given(st.text(max_size=60))
def test_join_token_texts(text: str) -> None:
    for candidate in (text, "fabric1." + text):
        with contextlib.suppress(WireError):
            parse_token_text(candidate)


@given(PLAIN)
def test_join_tokens_with_a_right_checksum(value: object) -> None:
    with contextlib.suppress(WireError):
        parse_token_text(sealed(pack(value)))


@given(st.integers(0, 600), st.integers(0, 255))
@settings(max_examples=300)
def test_a_changed_byte_in_a_signed_record_is_noticed(position: int, value: int) -> None:
    trust = FakeTrust("n1")
    state = sign_record(FakeNode("n1").record(), trust.sign).state
    body = bytearray(state.body)
    body[position % len(body)] = value
    changed = NodeState(certificate=state.certificate, body=bytes(body), signature=state.signature)
    with contextlib.suppress(WireError):
        record = read_state(changed).record
        assert (trust.doubt(changed, record) is None) == (changed == state)


@given(PLAIN, PLAIN)
def test_state_bodies(record: object, presence: object) -> None:
    body = pack({"record": record, "presence": presence})
    with contextlib.suppress(WireError):
        read_state(NodeState(certificate=b"c", body=body, signature=bytes(64)))


@given(st.dictionaries(st.sampled_from(sorted(Load.__dataclass_fields__)), PLAIN))
def test_load_bodies(load: dict[str, object]) -> None:
    state = LoadState(node_id=NodeId("0" * 32), epoch=1, version=1, body=pack(load))
    assert isinstance(read_load(state), Load)
