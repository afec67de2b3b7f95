"""Extension types are no plain values, not even empty ones."""

from __future__ import annotations

import msgpack
import pytest

from proto.codec import unpack
from proto.errors import WireError


@pytest.mark.parametrize("code", [0, 5, 127])
@pytest.mark.parametrize("size", [0, 1, 4, 300])
def test_extension_types_are_refused(code: int, size: int) -> None:
    frame = msgpack.packb({"a": [msgpack.ExtType(code, bytes(size))]})
    with pytest.raises(WireError, match="malformed"):
        unpack(frame)


@pytest.mark.parametrize("frame", [b"\xd7\xff" + bytes(8), b"\xc7\x00\xff", b"\xc7\x0c\xff" + bytes(12)])
def test_timestamps_are_refused(frame: bytes) -> None:
    with pytest.raises(WireError, match="malformed"):
        unpack(frame)
