"""Bytes to plain values and back. The only msgpack import. Bounds first; raises only `WireError`."""

from __future__ import annotations

import msgpack

from proto.errors import WireError

FRAME_BYTES_MAX = 1 << 20  # one message, one log entry; equals ZMQ_MAXMSGSIZE (design/gossip.md 4.8)
ITEMS_MAX = 65_536  # elements of one array or map
DEPTH_MAX = 16

Plain = None | bool | int | float | str | bytes | list["Plain"] | dict[str, "Plain"]


def pack(value: object, *, limit: int = FRAME_BYTES_MAX) -> bytes:
    """Plain value to msgpack bytes. Map keys keep their insertion order, so equal values built alike
    give equal bytes.

    Raises:
        WireError: `frame_too_long`, or `unpackable` for a value outside the plain types.
    """
    try:
        frame: bytes = msgpack.packb(value, use_bin_type=True)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise WireError("unpackable", str(error)) from error
    if len(frame) > limit:
        raise WireError("frame_too_long", f"{len(frame)} bytes, at most {limit}")
    return frame


def unpack(frame: bytes, *, limit: int = FRAME_BYTES_MAX) -> Plain:
    """Msgpack bytes to a plain value.

    Raises:
        WireError: `frame_too_long`, `malformed`, `too_deep`.
    """
    if len(frame) > limit:
        raise WireError("frame_too_long", f"{len(frame)} bytes, at most {limit}")
    try:
        value: Plain = msgpack.unpackb(
            frame,
            raw=False,
            strict_map_key=True,
            max_array_len=ITEMS_MAX,
            max_map_len=ITEMS_MAX,
            max_str_len=limit,
            max_bin_len=limit,
            max_ext_len=0,
            ext_hook=_refuse_ext,
        )
    except (ValueError, TypeError, msgpack.UnpackException, UnicodeDecodeError, RecursionError) as error:
        raise WireError("malformed", type(error).__name__) from error
    _check_depth(value, DEPTH_MAX)
    return value


def _refuse_ext(code: int, data: bytes) -> Plain:
    raise ValueError("extension types are not ours")  # an empty one passes max_ext_len


def unpack_map(frame: bytes, *, limit: int = FRAME_BYTES_MAX) -> dict[str, Plain]:
    """Like `unpack`, for frames that must hold a map with text keys. Raises WireError `not_a_map`."""
    value = unpack(frame, limit=limit)
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise WireError("not_a_map")
    return value


def _check_depth(value: Plain, left: int) -> None:
    if left == 0:
        raise WireError("too_deep")
    if isinstance(value, list):
        for item in value:
            if isinstance(item, list | dict):
                _check_depth(item, left - 1)
    elif isinstance(value, dict):
        for item in value.values():
            if isinstance(item, list | dict):
                _check_depth(item, left - 1)
