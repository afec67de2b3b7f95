"""Bytes from outside become a message or a WireError, and nothing else, whatever they are."""

from __future__ import annotations

import contextlib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.core.membership.record import read_state, sign_record
from proto import membership, rpc
from proto.codec import pack
from proto.envelope import decode, encode, fabric_tag, parse
from proto.errors import WireError
from proto.ids import FabricId
from proto.join import decode_reply, decode_request, parse_token_text
from proto.membership import NodeState, States
from tests.fixtures.membership_nodes import FakeNode, fake_sign

TAG = fabric_tag(FabricId("fuzz"))
KINDS: dict[str, type[Any]] = {**rpc.KINDS, **membership.KINDS}
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), 1 << 63)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    ["call_id", "method", "body", "timeout_ms", "credit", "states", "entries", "root", "members", "state"]
)


def read(frame: bytes) -> None:
    with contextlib.suppress(WireError):
        message = parse(decode(frame, TAG), KINDS)
        if isinstance(message, States):
            for state in message.states:
                read_state(state)


@given(st.binary(max_size=200))
def test_random_bytes(frame: bytes) -> None:
    read(frame)
    for reader in (decode_request, decode_reply):
        with contextlib.suppress(WireError):
            reader(frame)


@given(st.sampled_from(sorted(KINDS)), st.dictionaries(FIELDS, PLAIN, max_size=6))
@settings(max_examples=300)
def test_well_formed_envelopes_with_wrong_bodies(kind: str, body: dict[str, object]) -> None:
    read(pack([1, TAG, kind, body]))


@given(PLAIN, PLAIN)
def test_join_bodies(kind: object, body: object) -> None:
    for reader in (decode_request, decode_reply):
        for name in (kind, "join.request", "join.reply", "join.refusal"):
            with contextlib.suppress(WireError):
                reader(pack({"kind": name, "body": body}))


@given(st.text(max_size=60))
def test_join_token_texts(text: str) -> None:
    for candidate in (text, "fabric1." + text):
        with contextlib.suppress(WireError):
            parse_token_text(candidate)


@given(st.integers(0, 600), st.integers(0, 255))
@settings(max_examples=300)
def test_a_flipped_byte_in_a_real_state(position: int, value: int) -> None:
    state = sign_record(FakeNode("n1").record(), fake_sign("n1")).state
    frame = bytearray(encode(States(states=(state,)), TAG))
    frame[position % len(frame)] = value
    read(bytes(frame))


@given(PLAIN)
def test_state_bodies(record: object) -> None:
    body = pack({"record": record, "left": False})
    with contextlib.suppress(WireError):
        read_state(NodeState(certificate=b"c", body=body, signature=bytes(64)))
