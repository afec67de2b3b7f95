"""Frozen dataclasses to plain maps and back, checked field by field.

One mechanism serves every message, command, query and row that crosses a boundary. Rules:
unknown fields are ignored, missing fields take the dataclass default, a missing field without a
default or a value of another type is a `WireError`. Allowed field types: bool, int, float, str,
bytes, NewTypes and StrEnums over them, other records, `X | None`, `tuple[X, ...]`,
`Mapping[str, X]` and `Mapping[str, object]` (plain JSON-like values).
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from enum import Enum
from functools import cache
from typing import Any, TypeVar

from proto.errors import WireError

R = TypeVar("R")
_Convert = Callable[[Any, str], Any]
_SCALARS = (bool, int, float, str, bytes)


def to_wire(value: Any) -> Any:
    """A record (or a tuple, mapping or scalar of them) as plain values, fields in declared order."""
    kind = type(value)
    if value is None or kind in _SCALARS:
        return value
    if dataclasses.is_dataclass(value):
        return {name: to_wire(getattr(value, name)) for name in _field_names(kind)}  # type: ignore[arg-type]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): to_wire(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_wire(item) for item in value]
    if isinstance(value, frozenset | set):
        return sorted(to_wire(item) for item in value)
    raise WireError("unpackable", f"{kind.__name__} cannot cross a boundary")


def from_wire(kind: type[R], plain: object, where: str = "") -> R:
    """Plain values back into the record `kind`. Raises WireError `bad_field` naming the path."""
    result = _converter(kind)(plain, where or getattr(kind, "__name__", "value"))  # type: ignore[arg-type]
    return typing.cast(R, result)


@cache
def _field_names(kind: type) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(kind))


@cache
def _converter(kind: Any) -> _Convert:
    origin = typing.get_origin(kind)
    if kind is Any or kind is object:
        return lambda value, where: value
    if isinstance(kind, typing.NewType):
        return _converter(kind.__supertype__)
    if origin in (types.UnionType, typing.Union):
        return _optional(typing.get_args(kind))
    if origin is tuple:
        item, ellipsis = typing.get_args(kind)
        assert ellipsis is ..., f"only tuple[X, ...] is supported, not {kind}"
        return _tuple_of(item)
    if origin in (frozenset,):
        (item,) = typing.get_args(kind)
        return lambda value, where: frozenset(_tuple_of(item)(value, where))
    if origin is not None and issubclass(origin, Mapping):
        _key, item = typing.get_args(kind)
        return _mapping_of(item)
    if isinstance(kind, type):
        if dataclasses.is_dataclass(kind):
            return _record(kind)
        if issubclass(kind, Enum):
            return _enum(kind)
        if kind in _SCALARS:
            return _scalar(kind)
    raise TypeError(f"{kind!r} cannot be a field of a record")


def _scalar(kind: type) -> _Convert:
    def convert(value: Any, where: str) -> Any:
        if type(value) is kind:
            return value
        if kind is float and type(value) is int:
            return float(value)
        raise WireError("bad_field", f"{where}: expected {kind.__name__}, got {type(value).__name__}")

    return convert


def _enum(kind: type[Enum]) -> _Convert:
    def convert(value: Any, where: str) -> Any:
        try:
            return kind(value)
        except ValueError as error:
            raise WireError("bad_field", f"{where}: not a {kind.__name__}") from error

    return convert


def _optional(options: tuple[Any, ...]) -> _Convert:
    inner = [option for option in options if option is not type(None)]
    assert len(inner) == 1, f"only X | None is supported, not {options}"
    convert = _converter(inner[0])
    return lambda value, where: None if value is None else convert(value, where)


def _tuple_of(item: Any) -> _Convert:
    convert = _converter(item)

    def convert_all(value: Any, where: str) -> Any:
        if not isinstance(value, list | tuple):
            raise WireError("bad_field", f"{where}: expected a list, got {type(value).__name__}")
        return tuple(convert(element, f"{where}[{i}]") for i, element in enumerate(value))

    return convert_all


def _mapping_of(item: Any) -> _Convert:
    convert = _converter(item)

    def convert_all(value: Any, where: str) -> Any:
        if not isinstance(value, dict):
            raise WireError("bad_field", f"{where}: expected a map, got {type(value).__name__}")
        result = {}
        for key, element in value.items():
            if not isinstance(key, str):
                raise WireError("bad_field", f"{where}: keys must be text")
            result[key] = convert(element, f"{where}.{key}")
        return result

    return convert_all


def _record(kind: type) -> _Convert:
    hints = typing.get_type_hints(kind)
    plan = []
    for field in dataclasses.fields(kind):
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        plan.append((field.name, None, required, hints[field.name]))
    converters: dict[str, _Convert] = {}  # filled on first use: records may refer to themselves

    def convert(value: Any, where: str) -> Any:
        if not converters:
            converters.update({name: _converter(hint) for name, _, _, hint in plan})
        if type(value) is kind:
            return value
        if not isinstance(value, dict):
            raise WireError("bad_field", f"{where}: expected a map, got {type(value).__name__}")
        fields = {}
        for name, _, required, _ in plan:
            if name in value:
                fields[name] = converters[name](value[name], f"{where}.{name}")
            elif required:
                raise WireError("bad_field", f"{where}.{name}: missing")
        try:
            return kind(**fields)
        except (ValueError, TypeError) as error:  # a record's own __post_init__ said no
            raise WireError("bad_field", f"{where}: {error}") from error

    return convert
