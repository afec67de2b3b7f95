"""The fast code of `proto.records` and its slow twin say the same: values, bytes, the words of errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NewType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.core.membership.model import Load, NodeRecord
from proto import membership, rpc
from proto.certificate import NodeCertificate
from proto.codec import pack, unpack
from proto.commands import all_commands
from proto.errors import WireError
from proto.join import JoinReply, JoinRequest, JoinTokenText
from proto.raft import RAFT_MESSAGES
from proto.raft_frames import RaftAddress, SnapshotOffer
from proto.records import from_wire, to_wire
from tests.fixtures.wire_values import PLAIN, records
from tests.property.slow_records import slow_from_wire, slow_to_wire

Number = NewType("Number", int)


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    number: Number
    share: float = 0.5


@dataclass(frozen=True)
class Everything:
    """A field of each allowed type, in a class without slots that checks itself and may hold itself."""

    flag: bool
    leaf: Leaf
    colour: Colour
    text: str | None = None
    numbers: tuple[Number, ...] = ()
    shares: tuple[float, ...] = ()
    leaves: tuple[Leaf, ...] = ()
    deep: tuple[tuple[int, ...], ...] = ()
    names: frozenset[str] = frozenset()
    labels: Mapping[str, Leaf] = field(default_factory=dict)
    plain: Mapping[str, object] = field(default_factory=dict)
    inner: Everything | None = None

    def __post_init__(self) -> None:
        if len(self.numbers) > 2:
            raise ValueError("too many numbers")


RECORDS: list[type[Any]] = [
    *membership.KINDS.values(),
    *rpc.KINDS.values(),
    *RAFT_MESSAGES,
    RaftAddress,
    SnapshotOffer,
    *all_commands().values(),
    Everything,
    JoinReply,
    JoinRequest,
    JoinTokenText,
    Load,
    NodeCertificate,
    NodeRecord,
]
WRONG = st.none() | st.booleans() | st.integers(-2, 1 << 64) | st.floats() | st.text(max_size=3) | PLAIN


def outcome(read: Any, *arguments: Any) -> Any:
    """The value, or what the error says. `repr`, so that NaN equals itself and 1 is not 1.0 or True."""
    try:
        return repr(read(*arguments))
    except WireError as error:
        return (error.reason, error.detail)


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
@settings(max_examples=8)
@given(data=st.data())
def test_honest_records(kind: type[Any], data: st.DataObject) -> None:
    record = data.draw(records(kind))
    plain = to_wire(record)
    assert repr(plain) == repr(slow_to_wire(record))
    back = from_wire(kind, unpack(pack(plain)))
    assert repr(to_wire(back)) == repr(plain)  # sets have no order, and their wire form has one
    assert back == record or "nan" in repr(record)
    assert from_wire(kind, record) is record


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
@settings(max_examples=20)
@given(data=st.data())
def test_records_with_wrong_parts(kind: type[Any], data: st.DataObject) -> None:
    plain = to_wire(data.draw(records(kind)))
    for _ in range(data.draw(st.integers(1, 3))):
        damage(plain, data)
    assert outcome(from_wire, kind, plain, "x") == outcome(slow_from_wire, kind, plain, "x")


def damage(value: Any, data: st.DataObject) -> None:
    """Removes, adds or replaces one thing, at any depth."""
    if isinstance(value, dict):
        key = data.draw(st.sampled_from([*value, "later"]))
        if isinstance(value.get(key), dict | list) and data.draw(st.booleans()):
            damage(value[key], data)
        elif key in value and data.draw(st.booleans()):
            del value[key]
        else:
            value[key] = data.draw(WRONG)
    elif value and isinstance(value[-1], dict | list) and data.draw(st.booleans()):
        damage(value[-1], data)
    else:
        value.append(data.draw(WRONG))


@given(st.sampled_from(RECORDS), WRONG)
def test_no_map_at_all(kind: type[Any], plain: object) -> None:
    assert outcome(from_wire, kind, plain, "") == outcome(slow_from_wire, kind, plain, kind.__name__)


@given(
    st.recursive(
        WRONG | st.builds(Leaf, number=st.integers()), lambda v: st.tuples(v, v) | st.frozensets(st.text())
    )
)
def test_any_value_out(value: object) -> None:
    assert outcome(to_wire, value) == outcome(slow_to_wire, value)


@pytest.mark.parametrize("value", [object(), Everything, {1: object()}, (b"", object())])
def test_what_cannot_cross(value: object) -> None:
    with pytest.raises(WireError, match="unpackable"):
        to_wire(value)


def test_a_field_that_no_record_may_have_is_our_mistake() -> None:
    @dataclass
    class Odd:
        number: complex

    with pytest.raises(TypeError, match="cannot be a field"):
        from_wire(Odd, {"number": 1})
    with pytest.raises(TypeError, match="cannot be a field"):
        from_wire(Odd, {"number": 1})
