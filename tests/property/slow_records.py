"""The slow, obvious twin of `proto.records`: one rule after another, and the path spelled as it goes."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from enum import Enum
from typing import Any

from proto.errors import WireError

SCALARS = (bool, int, float, str, bytes)


def slow_to_wire(value: Any) -> Any:
    if value is None or type(value) in SCALARS:
        return value
    if dataclasses.is_dataclass(value):
        return {field.name: slow_to_wire(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): slow_to_wire(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [slow_to_wire(item) for item in value]
    if isinstance(value, frozenset | set):
        return sorted(slow_to_wire(item) for item in value)
    raise WireError("unpackable", f"{type(value).__name__} cannot cross a boundary")


def slow_from_wire(kind: Any, value: Any, where: str) -> Any:
    origin, options = typing.get_origin(kind), typing.get_args(kind)
    if isinstance(kind, typing.NewType):
        return slow_from_wire(kind.__supertype__, value, where)
    if kind is Any or kind is object:
        return value
    if origin in (types.UnionType, typing.Union):
        (inner,) = (option for option in options if option is not type(None))
        return None if value is None else slow_from_wire(inner, value, where)
    if origin in (tuple, frozenset):
        if not isinstance(value, list | tuple):
            refuse(where, f"expected a list, got {type(value).__name__}")
        return origin(slow_from_wire(options[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is not None:
        return slow_mapping(options[1], value, where)
    if dataclasses.is_dataclass(kind):
        return slow_record(kind, value, where)
    if issubclass(kind, Enum):
        try:
            return kind(value)
        except ValueError:
            refuse(where, f"not a {kind.__name__}")
    if type(value) is kind:
        return value
    if kind is float and type(value) is int:
        return float(value)
    return refuse(where, f"expected {kind.__name__}, got {type(value).__name__}")


def slow_mapping(item: Any, value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        refuse(where, f"expected a map, got {type(value).__name__}")
    done = {}
    for key, element in value.items():
        if not isinstance(key, str):
            refuse(where, "keys must be text")
        done[key] = slow_from_wire(item, element, f"{where}.{key[:64]}")
    return done


def slow_record(kind: Any, value: Any, where: str) -> Any:
    if type(value) is kind:
        return value
    if not isinstance(value, dict):
        refuse(where, f"expected a map, got {type(value).__name__}")
    hints = typing.get_type_hints(kind)
    given = {}
    for field in dataclasses.fields(kind):
        if field.name in value:
            given[field.name] = slow_from_wire(hints[field.name], value[field.name], f"{where}.{field.name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            refuse(f"{where}.{field.name}", "missing")
    try:
        return kind(**given)
    except (ValueError, TypeError) as error:
        return refuse(where, str(error))


def refuse(where: str, why: str) -> Any:
    raise WireError("bad_field", f"{where}: {why}")
