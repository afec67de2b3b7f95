"""What no engine may be asked to store: NUL in text, integers beyond 64 bits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Any

from fabric.store.apply.context import reject

INT_MAX = 2**63 - 1

_fields: dict[type, Callable[[Any], Iterable[Any]]] = {}  # all values of a record at once


def check_values(record: Any) -> None:
    """Of a command, in the order of its fields. Rejects `invalid`."""
    kind = type(record)
    values_of = _fields.get(kind)
    if values_of is None:
        values_of = _fields[kind] = _getter(kind)
    for value in values_of(record):
        if not value:
            continue
        kind = type(value)
        if kind is str:
            if "\0" in value:
                _check(value)
        elif kind is not bytes:
            _check(value)


def _getter(kind: Any) -> Callable[[Any], Iterable[Any]]:
    names = tuple(kind.__dataclass_fields__)
    if len(names) > 1:
        return attrgetter(*names)
    return lambda record: [getattr(record, name) for name in names]


def _check(value: Any) -> None:
    if isinstance(value, str):
        if "\0" in value:
            reject("invalid", "Text must not contain NUL characters.")
    elif isinstance(value, int):
        if not -INT_MAX <= value <= INT_MAX:
            reject("invalid", f"The number {value} is out of range.")
    elif isinstance(value, tuple | list):
        for item in value:
            _check(item)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            _check(key)
            _check(item)
    elif hasattr(value, "__dataclass_fields__"):
        check_values(value)
