"""Envelopes: what is ours passes, everything else is a WireError with a counter's name."""

from __future__ import annotations

import pytest

from proto.codec import FRAME_BYTES_MAX, pack
from proto.envelope import WIRE_VERSION, Envelope, decode, encode, fabric_tag, parse
from proto.errors import WireError
from proto.ids import FabricId
from proto.rpc import CHUNK_BYTES_MAX, KINDS, Cancel, Request, StreamChunk

TAG = fabric_tag(FabricId("fabric-a"))


def reason_of(frame: bytes) -> str:
    with pytest.raises(WireError) as caught:
        parse(decode(frame, TAG), KINDS)
    return caught.value.reason


def test_message_survives_the_wire() -> None:
    request = Request(call_id=7, method="state.read", body={"query": "q", "n": [1, None]}, timeout_ms=50)
    assert parse(decode(encode(request, TAG), TAG), KINDS) == request


def test_unknown_fields_and_extra_items_are_ignored() -> None:
    frame = pack([WIRE_VERSION, TAG, "rpc.cancel", {"call_id": 3, "later": "x"}, "more"])
    assert parse(decode(frame, TAG), KINDS) == Cancel(call_id=3)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"a": 1}, "not_an_envelope"),
        ([WIRE_VERSION, TAG, "rpc.cancel"], "not_an_envelope"),
        ([2, TAG, "rpc.cancel", {"call_id": 1}], "unknown_version"),
        ([True, TAG, "rpc.cancel", {"call_id": 1}], "unknown_version"),
        ([1, fabric_tag(FabricId("fabric-b")), "rpc.cancel", {"call_id": 1}], "wrong_fabric"),
        ([1, "text", "rpc.cancel", {"call_id": 1}], "wrong_fabric"),
        ([1, TAG, "RPC cancel", {"call_id": 1}], "bad_kind"),
        ([1, TAG, "rpc." + "x" * 100, {"call_id": 1}], "bad_kind"),
        ([1, TAG, "rpc.cancel", [1]], "not_a_map"),
        ([1, TAG, "rpc.dance", {}], "unknown_kind"),
        ([1, TAG, "rpc.cancel", {}], "bad_field"),
        ([1, TAG, "rpc.cancel", {"call_id": "1"}], "bad_field"),
        ([1, TAG, "rpc.cancel", {"call_id": True}], "bad_field"),
        ([1, TAG, "rpc.cancel", {"call_id": -1}], "bad_field"),
        ([1, TAG, "rpc.credit", {"call_id": 1, "chunks": 0}], "bad_field"),
        ([1, TAG, "rpc.request", {"call_id": 1, "method": "", "body": {}, "timeout_ms": 1}], "bad_field"),
        ([1, TAG, "rpc.request", {"call_id": 1, "method": "m", "body": {}, "timeout_ms": 0}], "bad_field"),
        ([1, TAG, "rpc.error", {"call_id": 1, "code": "c", "message": "", "outcome": "x"}], "bad_field"),
    ],
)
def test_what_is_not_a_message_is_refused(value: object, reason: str) -> None:
    assert reason_of(pack(value)) == reason


def test_too_long_is_refused_before_parsing() -> None:
    assert reason_of(b"\xc1" * (FRAME_BYTES_MAX + 1)) == "frame_too_long"
    with pytest.raises(WireError, match="frame_too_long"):
        encode(Request(call_id=1, method="m", body={"x": b"y" * FRAME_BYTES_MAX}, timeout_ms=1), TAG)


def test_the_longest_chunk_fits_a_frame() -> None:
    chunk = StreamChunk(call_id=1, sequence=0, data=bytes(CHUNK_BYTES_MAX))
    assert parse(decode(encode(chunk, TAG), TAG), KINDS) == chunk
    with pytest.raises(ValueError, match="chunk too long"):
        StreamChunk(call_id=1, sequence=0, data=bytes(CHUNK_BYTES_MAX + 1))


def test_envelope_is_not_parsed_deeper_than_asked() -> None:
    assert decode(pack([1, TAG, "rpc.cancel", {"a": 1}]), TAG) == Envelope("rpc.cancel", {"a": 1})


def test_head_has_one_encoding() -> None:
    """So that version, fabric and kind are known before anything is parsed."""
    body = pack({"call_id": 1})
    head = b"\x94\x01\xc4\x08" + TAG
    assert parse(decode(head + b"\xaarpc.cancel" + body, TAG), KINDS) == Cancel(call_id=1)
    assert parse(decode(head + b"\xd9\x0arpc.cancel" + body, TAG), KINDS) == Cancel(call_id=1)
    for frame, reason in (
        (b"\xdc\x00\x04\x01\xc4\x08" + TAG + b"\xaarpc.cancel" + body, "not_an_envelope"),
        (b"\x94\xcc\x01\xc4\x08" + TAG + b"\xaarpc.cancel" + body, "unknown_version"),
        (b"\x94\x01\xc5\x00\x08" + TAG + b"\xaarpc.cancel" + body, "wrong_fabric"),
        (head + b"\xda\x00\x0arpc.cancel" + body, "bad_kind"),
        (head + b"\xd9\xffrpc.cancel", "bad_kind"),
        (head + b"\xd9", "bad_kind"),
        (head + b"\xa0", "bad_kind"),
        (head + b"\xaarpc.canc", "bad_kind"),
        (head + b"\xaarpc.cancel", "malformed"),
        (head + b"\xaarpc.cancel" + body + b"\x00", "malformed"),
    ):
        assert reason_of(frame) == reason, frame


@pytest.mark.parametrize("length", range(14))
def test_cut_heads(length: int) -> None:
    assert reason_of(pack([1, TAG, "rpc.cancel", {"call_id": 1}])[:length]) in (
        "not_an_envelope",
        "bad_kind",
    )


def test_every_item_after_the_body_is_ignored() -> None:
    frame = pack([1, TAG, "rpc.cancel", {"call_id": 3}, *range(11)])
    assert parse(decode(frame, TAG), KINDS) == Cancel(call_id=3)
    assert reason_of(pack([1, TAG, "rpc.cancel", {"call_id": 3}, *range(12)])) == "not_an_envelope"
