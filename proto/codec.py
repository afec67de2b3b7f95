"""Bytes to plain values and back. The only msgpack import. Bounds first; raises only `WireError`.

What a frame may cost its reader. A container takes one byte on the wire and about seventy in memory, and the
parser believes an array's header before it has seen one element; so three bounds hold while parsing, beside
the length before it: containers in all, elements of each (never more than the frame has bytes, to the next
power of two), and nesting. `tests/unit/proto/test_amplification.py` measures the worst frames known.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache, partial

import msgpack

from proto.errors import WireError

FRAME_BYTES_MAX = 1 << 20  # one message, one log entry; equals ZMQ_MAXMSGSIZE (design/gossip.md 4.8)
ITEMS_MAX = 65_536  # elements of one array or map
CONTAINERS_MAX = 131_072  # arrays and maps of one frame: a record spends more than 8 bytes on each
DEPTH_MAX = 16

Plain = None | bool | int | float | str | bytes | list["Plain"] | dict[str, "Plain"]
_Parser = Callable[..., Plain]


def pack(value: object, *, limit: int = FRAME_BYTES_MAX) -> bytes:
    """Plain value to msgpack bytes. Map keys keep their insertion order, so equal values built alike
    give equal bytes.

    Raises:
        WireError: `frame_too_long`, or `unpackable` for a value outside the plain types.
    """
    packer = _packers.packer
    try:
        frame: bytes = packer.pack(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise WireError("unpackable", str(error)) from error
    if len(frame) > limit:
        if len(frame) > FRAME_BYTES_MAX:
            _packers.packer = _Packers.new()  # a packer keeps the longest buffer it ever needed
        raise WireError("frame_too_long", f"{len(frame)} bytes, at most {limit}")
    return frame


def unpack(
    frame: bytes,
    *,
    limit: int = FRAME_BYTES_MAX,
    items_max: int = ITEMS_MAX,
    containers_max: int = CONTAINERS_MAX,
) -> Plain:
    """Msgpack bytes to a plain value.

    Raises:
        WireError: `frame_too_long`, `malformed`, `too_many`, `too_deep`, `not_a_map`.
    """
    if len(frame) > limit:
        raise WireError("frame_too_long", f"{len(frame)} bytes, at most {limit}")
    left = containers_max

    def count(array: list[Plain]) -> list[Plain]:
        nonlocal left
        if not left:
            raise WireError("too_many", f"more than {containers_max} arrays and maps")
        left -= 1
        return array

    def count_map(found: dict[object, Plain]) -> dict[object, Plain]:
        nonlocal left
        if not left:
            raise WireError("too_many", f"more than {containers_max} arrays and maps")
        left -= 1
        if list(map(type, found)).count(str) != len(found):  # `strict_map_key` lets bytes through
            raise WireError("not_a_map", "keys must be text")
        return found

    parse = _parser(items_max, len(frame).bit_length())
    try:
        value = parse(frame, list_hook=count, object_hook=count_map)
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        raise WireError("malformed", type(error).__name__) from error
    if containers_max - left > DEPTH_MAX:  # fewer cannot be nested deeper
        _check_depth(value)
    return value


def unpack_map(frame: bytes, *, limit: int = FRAME_BYTES_MAX) -> dict[str, Plain]:
    """Like `unpack`, for frames that must hold a map. Raises WireError `not_a_map`."""
    value = unpack(frame, limit=limit)
    if not isinstance(value, dict):
        raise WireError("not_a_map")
    return value


class _Packers(threading.local):
    """One for each thread, made once: making one costs as much as packing a message."""

    def __init__(self) -> None:
        self.packer = self.new()

    @staticmethod
    def new() -> msgpack.Packer:
        return msgpack.Packer(use_bin_type=True)


_packers = _Packers()


@cache
def _parser(items_max: int, frame_bits: int) -> _Parser:
    """Every element takes a byte at least: a header that promises more than the frame holds is a lie."""
    items = min(items_max, 1 << frame_bits)
    return partial(
        msgpack.unpackb,
        raw=False,
        strict_map_key=True,
        max_array_len=items,
        max_map_len=items,
        max_str_len=1 << frame_bits,
        max_bin_len=1 << frame_bits,
        max_ext_len=0,
        ext_hook=_refuse_ext,
    )


def _refuse_ext(code: int, data: bytes) -> Plain:
    raise ValueError("extension types are not ours")  # an empty one passes max_ext_len


def _check_depth(value: Plain) -> None:
    """Layer by layer; a layer is all that sits equally deep."""
    layer = [value]
    for _ in range(DEPTH_MAX):
        layer = [
            item
            for container in layer
            for item in (container.values() if isinstance(container, dict) else container)  # type: ignore[union-attr]
            if isinstance(item, list | dict)
        ]
        if not layer:
            return
    raise WireError("too_deep")
