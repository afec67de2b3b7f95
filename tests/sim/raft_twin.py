"""Copies of a core that share nothing that changes, and what tells two of them apart.

Times are all set to nought and left out: who explores every order of events lets every timeout fire whenever
it likes. Of frozen values no copy is made. `copy.deepcopy` does the same twelve times slower.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable
from dataclasses import is_dataclass
from enum import Enum
from random import Random
from types import NoneType
from typing import Any, TypeVar

from fabric.core.raft.outbox import Outbox

T = TypeVar("T")

LEFT_OUT = {"_config", "_rng", "_outbox", "counters"}  # changes nothing that the core does later
ATOMS = (int, float, str, bytes, NoneType, Enum, Random, frozenset, tuple)
_FIELDS: dict[type, tuple[str, ...] | None] = {}  # of a kind of object; None: it never changes


def twin(value: T) -> T:
    """Two references to one object become two references to one copy."""
    copied: T = _copy(value, {})
    return copied


def visible(value: Any) -> Hashable:
    """Equal for those that behave alike."""
    return _key(value, set())


def _copy(value: Any, known: dict[int, Any]) -> Any:
    kind = type(value)
    fields = _FIELDS[kind] if kind in _FIELDS else _fields(value)
    if fields is None:
        return value
    made = known.get(id(value))
    if made is not None:
        return made
    if kind is dict:
        made = known[id(value)] = {key: _copy(each, known) for key, each in value.items()}
    elif kind is Counter:
        made = known[id(value)] = Counter(value)
    elif kind in (list, deque, set):
        made = known[id(value)] = kind(_copy(each, known) for each in value)
    elif kind is Outbox:
        made = known[id(value)] = Outbox()
    else:
        made = known[id(value)] = object.__new__(kind)
        for name in fields or vars(value):
            setattr(made, name, 0 if name.endswith("_ms") else _copy(getattr(value, name), known))
    return made


def _fields(value: Any) -> tuple[str, ...] | None:
    """Also for next time. Empty: they stand in the object's dictionary."""
    kind = type(value)
    is_frozen = is_dataclass(kind) and kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
    _FIELDS[kind] = None if is_frozen or isinstance(value, ATOMS) else tuple(getattr(kind, "__slots__", ()))
    return _FIELDS[kind]


def _key(value: Any, known: set[int]) -> Hashable:
    kind = type(value)
    fields = _FIELDS[kind] if kind in _FIELDS else _fields(value)
    if fields is None:
        return value  # type: ignore[no-any-return]
    if id(value) in known:
        return None
    known.add(id(value))
    if kind is dict:
        return tuple(sorted((key, _key(each, known)) for key, each in value.items()))
    if kind in (list, deque):
        return tuple(_key(each, known) for each in value)
    if kind is set:
        return frozenset(value)
    names = fields or vars(value)
    return tuple(
        _key(getattr(value, name), known)
        for name in names
        if name not in LEFT_OUT and not name.endswith("_ms")
    )
