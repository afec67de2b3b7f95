"""A frame costs its reader memory in proportion to its length, whatever it holds.

The frames below are the worst known of their shape; the factors are what they cost, rounded up. Memory is
counted by `tracemalloc`, so that the figures do not depend on the machine.
"""

from __future__ import annotations

import gc
import tracemalloc
from contextlib import suppress
from typing import Any

import pytest

from proto import membership, raft_frames, rpc
from proto.bounds import BOUNDS, Bounds
from proto.codec import pack
from proto.envelope import decode, fabric_tag, parse
from proto.errors import WireError
from proto.ids import FabricId

TAG = fabric_tag(FabricId("amplify"))
KINDS: dict[str, type[Any]] = {**membership.KINDS, **rpc.KINDS, **raft_frames.KINDS}
MIB = 1 << 20
BYTES_PER_BYTE = 40  # a text of one character outside Latin-1: 3 bytes in the frame, 76 + 8 in memory
CONTAINER_BYTES = 320  # a map with one entry: 232 here, 240 elsewhere
NESTED_MAX = 1_024  # msgpack's own stack
LOOSE_BYTES = 200_000  # interpreter noise


def array(count: int) -> bytes:
    return b"\xdd" + count.to_bytes(4, "big")


def in_arrays(bounds: Bounds, element: bytes) -> bytes:
    """As many of `element` as a frame may hold, in arrays as long as they may be. Two layers when one is
    not enough."""
    room = bounds.frame_bytes - 64
    per_array = bounds.items
    full = array(per_array) + element * per_array
    if len(full) >= room:
        count = (room - 5) // len(element)
        return array(count) + element * count
    count = room // len(full)
    if count <= bounds.items:
        return array(count) + full * count
    per_layer = array(bounds.items) + full * bounds.items
    outer = room // len(per_layer)
    return array(outer) + per_layer * outer


def frame_of(kind: str, value: bytes) -> bytes:
    return b"\x94\x01" + pack(TAG) + pack(kind) + b"\x81\xa1x" + value


def peak_bytes(frame: bytes) -> int:
    gc.collect()
    tracemalloc.start()
    try:
        with suppress(WireError):
            parse(decode(frame, TAG), KINDS)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


ELEMENTS = {
    "empty list": b"\x90",
    "empty map": b"\x80",
    "map of one": b"\x81\xa0\x90",
    "wide text": b"\xa2\xc4\x80",
    "text": b"\xa2ab",
    "bytes": b"\xc4\x02ab",
    "number": b"\xcd\x01\x01",
    "large number": b"\xce\x7f\xff\xff\xff",
}


@pytest.mark.parametrize(
    "kind", ["member.state", "member.down", "member.digest", "member.beat", "raft.append", "rpc.reply"]
)
@pytest.mark.parametrize("element", sorted(ELEMENTS))
def test_wide_frames(kind: str, element: str) -> None:
    bounds = BOUNDS[kind]
    frame = frame_of(kind, in_arrays(bounds, ELEMENTS[element]))
    allowed = BYTES_PER_BYTE * len(frame) + CONTAINER_BYTES * bounds.containers + LOOSE_BYTES
    assert peak_bytes(frame) <= allowed


@pytest.mark.parametrize("kind", ["member.state", "member.digest", "member.beat", "raft.append", "rpc.reply"])
def test_nested_headers_that_promise_much(kind: str) -> None:
    """Six bytes a level make the parser reserve room for as many elements as one container may have."""
    bounds = BOUNDS[kind]
    for promised in (bounds.items, min(bounds.items, 4_096)):
        levels = (array(promised) * NESTED_MAX)[: max(0, bounds.frame_bytes - 64)]
        padding = bytes(max(0, min(promised, bounds.frame_bytes - 64) - len(levels)))
        reserved = NESTED_MAX * min(promised, 2 * (len(levels) + len(padding))) * 8
        assert peak_bytes(frame_of(kind, levels + padding)) <= reserved + 2 * MIB


def test_a_short_frame_cannot_reserve_much() -> None:
    """Before headers were held against the frame's length, these 5 KB reserved 500 MiB."""
    for count in (65_535, 65_536, 0x7FFFFFFF):
        assert peak_bytes(frame_of("rpc.reply", array(count) * 1_000)) <= MIB


def test_an_error_does_not_repeat_what_came() -> None:
    long = "k" * 500_000
    for body in ({"states": [], "eager": long}, {"states": long}, {long: 1, "eager": 1}):
        with pytest.raises(WireError) as caught:
            parse(decode(pack([1, TAG, "member.state", body]), TAG), KINDS)
        assert len(str(caught.value)) < 200
    with pytest.raises(WireError) as caught:
        parse(decode(pack([1, TAG, "member.nack", {"nonce": 1, "finding": long[:4_000]}]), TAG), KINDS)
    assert len(str(caught.value)) < 200
