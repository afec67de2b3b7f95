"""Bounds hold before and after parsing: length, nesting, kinds of values."""

from __future__ import annotations

import pytest

from proto.codec import DEPTH_MAX, pack, unpack, unpack_map
from proto.errors import WireError


def nested(depth: int, *, in_maps: bool) -> object:
    """`depth` containers, one in the other."""
    value: object = {} if in_maps else []
    for _ in range(depth - 1):
        value = {"k": value} if in_maps else [value]
    return value


@pytest.mark.parametrize("in_maps", [False, True])
def test_nesting_has_a_bound(in_maps: bool) -> None:
    deepest = nested(DEPTH_MAX, in_maps=in_maps)
    assert unpack(pack(deepest)) == deepest
    for depth in (DEPTH_MAX + 1, 400):
        with pytest.raises(WireError, match="too_deep"):
            unpack(pack(nested(depth, in_maps=in_maps)))


def test_length_has_a_bound_on_both_sides() -> None:
    assert unpack(pack(b"x" * 98, limit=100), limit=100) == b"x" * 98
    with pytest.raises(WireError, match="frame_too_long"):
        pack(b"x" * 99, limit=100)
    with pytest.raises(WireError, match="frame_too_long"):
        unpack(pack(b"x" * 99), limit=100)


@pytest.mark.parametrize("value", [object(), {1, 2}, 1 << 70], ids=["object", "set", "huge"])
def test_what_is_not_plain_is_not_packed(value: object) -> None:
    with pytest.raises(WireError, match="unpackable"):
        pack(value)


def test_a_map_is_asked_for_by_name() -> None:
    assert unpack_map(pack({"a": 1})) == {"a": 1}
    for value in ([1], {"a": {"b": 1}, 2: 3}):
        with pytest.raises(WireError):
            unpack_map(pack(value))


@pytest.mark.parametrize("value", [{b"k": 1}, [{"k": [{b"": 1}]}]], ids=["outermost", "inside"])
def test_keys_of_maps_are_text_at_any_depth(value: object) -> None:
    """A key of bytes would come back as another key: text, when it is passed on."""
    with pytest.raises(WireError, match="not_a_map"):
        unpack(pack(value))
