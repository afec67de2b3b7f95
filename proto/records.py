"""Frozen dataclasses to plain maps and back, checked field by field.

One mechanism serves every message, command, query and row that crosses a boundary. Rules:
unknown fields are ignored, missing fields take the dataclass default, a missing field without a
default or a value of another type is a `WireError`. Allowed field types: bool, int, float, str,
bytes, NewTypes and StrEnums over them, other records, `X | None`, `tuple[X, ...]`, `frozenset[X]`,
`Mapping[str, X]` and `Mapping[str, object]` (plain JSON-like values).

Both directions are on the path of every gossip message, so each record class gets two functions of
straight-line code, made once at its first use (`record_code`); where a wrong value sits is worked out
only after it was found wrong. `tests/property/test_records.py` holds them to a slow, obvious twin.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from enum import Enum
from threading import RLock
from typing import Any, TypeVar

from proto.errors import WireError
from proto.record_code import BadValue, Reader, Writer, reader_of_record, writer_of_record

R = TypeVar("R")
KEY_CHARS_TOLD = 64  # of a map's key in an error; keys come from outside
_SCALARS = (bool, int, float, str, bytes)


def to_wire(value: Any) -> Any:
    """A record (or a tuple, mapping or scalar of them) as plain values, fields in declared order.

    Tuples declared to hold scalars are taken at their word; `codec.pack` refuses what is not plain.
    Raises WireError `unpackable`.
    """
    kind = type(value)
    write = _writers.get(kind)
    if write is None:
        write = _writers[kind] = _writer(kind)
    return write(value)


def from_wire(kind: type[R], plain: object, where: str = "") -> R:
    """Plain values back into the record `kind`. Raises WireError `bad_field` naming the path."""
    read = _readers.get(kind)
    try:
        result = read(plain) if read is not None else _reader(kind)(plain)
    except BadValue as bad:
        path = "".join(reversed(bad.path))
        start = where or getattr(kind, "__name__", "value")
        raise WireError("bad_field", f"{start}{path}: {bad.why}") from bad.__cause__
    return typing.cast(R, result)


def prepare(*kinds: type) -> None:
    """Makes the readers and writers of records now, at import, instead of in the middle of a first second."""
    for kind in kinds:
        _reader(kind)
        if kind not in _writers:
            _writers[kind] = _writer(kind)


# ---- out


def _writer(kind: type) -> Writer:
    if dataclasses.is_dataclass(kind):
        return writer_of_record(kind, to_wire)
    if issubclass(kind, Enum):
        return lambda value: value.value
    if issubclass(kind, Mapping):
        return lambda value: {str(key): to_wire(item) for key, item in value.items()}
    if issubclass(kind, tuple | list):
        return lambda value: [to_wire(item) for item in value]
    if issubclass(kind, frozenset | set):
        return lambda value: sorted(to_wire(item) for item in value)
    raise WireError("unpackable", f"{kind.__name__} cannot cross a boundary")


_writers: dict[type, Writer] = dict.fromkeys((*_SCALARS, type(None)), lambda value: value)


# ---- in

_readers: dict[Any, Reader] = {}
_being_made: set[Any] = set()  # records may refer to themselves
_making = RLock()


def _reader(kind: Any) -> Reader:
    """How a value of the declared type `kind` is read. Raises TypeError: no record may have such a field."""
    read = _readers.get(kind)
    if read is not None:
        return read
    with _making:
        if kind in _being_made:
            return lambda value: _readers[kind](value)
        _being_made.add(kind)
        try:
            read = _readers[kind] = _make_reader(kind)
        finally:
            _being_made.discard(kind)
    return read


def _make_reader(kind: Any) -> Reader:
    origin = typing.get_origin(kind)
    if kind is Any or kind is object:
        return lambda value: value
    if isinstance(kind, typing.NewType):
        return _reader(kind.__supertype__)
    if origin in (types.UnionType, typing.Union):
        return _optional(typing.get_args(kind))
    if origin is tuple:
        item, ellipsis = typing.get_args(kind)
        assert ellipsis is ..., f"only tuple[X, ...] is supported, not {kind}"
        return _tuple_of(item)
    if origin is frozenset:
        (item,) = typing.get_args(kind)
        read_all = _tuple_of(item)
        return lambda value: frozenset(read_all(value))
    if origin is not None and issubclass(origin, Mapping):
        _key, item = typing.get_args(kind)
        return _mapping_of(item)
    if isinstance(kind, type):
        if dataclasses.is_dataclass(kind):
            return reader_of_record(kind, _reader)
        if issubclass(kind, Enum):
            return _enum(kind)
        if kind in _SCALARS:
            return _scalar(kind)
    raise TypeError(f"{kind!r} cannot be a field of a record")


def _scalar(kind: type) -> Reader:
    def read(value: Any) -> Any:
        if type(value) is kind:
            return value
        if kind is float and type(value) is int:
            return float(value)
        raise BadValue(f"expected {kind.__name__}, got {type(value).__name__}")

    return read


def _enum(kind: type[Enum]) -> Reader:
    members = {member.value: member for member in kind}

    def read(value: Any) -> Any:
        try:
            return members[value]
        except (KeyError, TypeError):  # another value, or none that can be one
            raise BadValue(f"not a {kind.__name__}") from None

    return read


def _optional(options: tuple[Any, ...]) -> Reader:
    inner = [option for option in options if option is not type(None)]
    assert len(inner) == 1, f"only X | None is supported, not {options}"
    read = _reader(inner[0])
    return lambda value: None if value is None else read(value)


def _tuple_of(item: Any) -> Reader:
    scalar = _bare(item)
    if scalar in _SCALARS and scalar is not float:
        return _tuple_of_scalars(scalar)
    read = _reader(item)

    def read_all(value: Any) -> Any:
        elements = _list(value)
        done: list[Any] = []
        append = done.append
        try:
            for element in elements:
                append(read(element))
        except BadValue as bad:
            bad.path.append(f"[{len(done)}]")
            raise
        return tuple(done)

    return read_all


def _tuple_of_scalars(kind: type) -> Reader:
    """Long lists of numbers are the bulk of a digest: their types are compared without a loop of ours."""
    read = _scalar(kind)

    def read_all(value: Any) -> Any:
        elements = tuple(_list(value))
        if list(map(type, elements)).count(kind) != len(elements):
            for i, element in enumerate(elements):
                try:
                    read(element)
                except BadValue as bad:
                    bad.path.append(f"[{i}]")
                    raise
        return elements

    return read_all


def _mapping_of(item: Any) -> Reader:
    read = _reader(item)

    def read_all(value: Any) -> Any:
        if not isinstance(value, dict):
            raise BadValue(f"expected a map, got {type(value).__name__}")
        done = {}
        for key, element in value.items():
            if not isinstance(key, str):
                raise BadValue("keys must be text")
            try:
                done[key] = read(element)
            except BadValue as bad:
                bad.path.append(f".{key[:KEY_CHARS_TOLD]}")
                raise
        return done

    return read_all


def _list(value: Any) -> list[Any] | tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise BadValue(f"expected a list, got {type(value).__name__}")
    return value


def _bare(kind: Any) -> Any:
    while isinstance(kind, typing.NewType):
        kind = kind.__supertype__
    return kind
