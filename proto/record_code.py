"""Makes the two functions of a record class: straight-line code in place of a loop over its fields.

The same technique as the `dataclasses` module's own `__init__`: a few lines of source for each field,
compiled once. Only names from the class itself and constants of ours enter the source, never a value.
For the record `Ping(nonce: int)` the reader is

    def read(value):
        if type(value) is kind:
            return value
        if not isinstance(value, dict):
            raise BadValue(f"expected a map, got {type(value).__name__}")
        try:
            at = 'nonce'
            x = value['nonce']
            if type(x) is not int: x = read_0(x)
            ...
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable
from typing import Any

Reader = Callable[[Any], Any]  # a plain value to the declared type; raises BadValue
Writer = Callable[[Any], Any]  # a value to plain values

_INLINE = (bool, int, float, str, bytes)  # compared in place; whatever differs goes to the field's reader
_ABSENT = dataclasses.MISSING


class BadValue(Exception):  # never leaves `records`, where it becomes a WireError
    """A value that is not what its field declares. `path` grows from the inside out."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
        self.path: list[str] = []


def writer_of_record(kind: type, write: Writer) -> Writer:
    """The record as a map, fields in declared order; `write` does what is not a plain scalar."""
    hints = typing.get_type_hints(kind)
    items = []
    for field in dataclasses.fields(kind):
        name, hint = field.name, _bare(hints[field.name])
        maybe = _optional(hint)
        if hint in _INLINE:
            items.append(f"{name!r}: x if type(x := record.{name}) is {hint.__name__} else write(x)")
        elif maybe is not None:
            items.append(f"{name!r}: None if (x := record.{name}) is None else {_written(maybe)}")
        elif typing.get_origin(hint) is tuple and _bare(typing.get_args(hint)[0]) in _INLINE:
            items.append(f"{name!r}: list(x) if type(x := record.{name}) is tuple else write(x)")
        else:
            items.append(f"{name!r}: write(record.{name})")
    source = "def write_record(record):\n    return {" + ", ".join(items) + "}\n"
    return _compiled(source, kind, {"write": write})


def _written(hint: Any) -> str:
    return f"x if type(x) is {hint.__name__} else write(x)" if hint in _INLINE else "write(x)"


def reader_of_record(kind: type, reader_of: Callable[[Any], Reader]) -> Reader:
    """A map to the record. `reader_of` tells how a declared type is read.

    A slotted class is filled through its slots and then checked by its own `__post_init__`: what its
    `__init__` would do, without passing each value twice more.
    """
    hints = typing.get_type_hints(kind)
    fields = dataclasses.fields(kind)
    names: dict[str, Any] = {"kind": kind, "BadValue": BadValue, "new": object.__new__}
    by_slots = all(isinstance(getattr(kind, f.name, None), types.MemberDescriptorType) for f in fields)
    lines = [
        "def read_record(value):",
        "    if type(value) is kind:",
        "        return value",
        "    if not isinstance(value, dict):",
        "        raise BadValue(f'expected a map, got {type(value).__name__}')",
        *(["    made = new(kind)"] if by_slots else ["    made = {}"]),
        "    at = ''",
        "    try:",
        "        pass",
    ]
    for i, field in enumerate(fields):
        names[f"read_{i}"] = reader_of(hints[field.name])
        names[f"set_{i}"] = getattr(kind, field.name).__set__ if by_slots else None
        store = f"set_{i}(made, x)" if by_slots else f"made[{field.name!r}] = x"
        lines += _field_lines(i, field, hints[field.name], store)
        names[f"default_{i}"] = field.default if field.default is not _ABSENT else field.default_factory
    lines += [
        "    except BadValue as bad:",
        "        bad.path.append('.' + at)",
        "        raise",
        "    except KeyError:",
        "        if at in value:",
        "            raise",  # not ours: a mistake below
        "        absent = BadValue('missing')",
        "        absent.path.append('.' + at)",
        "        raise absent from None",
    ]
    if not by_slots or hasattr(kind, "__post_init__"):
        lines += [
            "    try:",
            "        made.__post_init__()" if by_slots else "        made = kind(**made)",
            "    except (ValueError, TypeError) as error:",  # the record's own check said no
            "        raise BadValue(str(error)) from error",
        ]
    return _compiled("\n".join([*lines, "    return made\n"]), kind, names)


def _field_lines(i: int, field: dataclasses.Field[Any], hint: Any, store: str) -> list[str]:
    name, bare = field.name, _bare(hint)
    check = f"x = read_{i}(x)"
    if bare in _INLINE:
        check = f"if type(x) is not {bare.__name__}: {check}"
    elif (maybe := _optional(bare)) is not None:
        differs = f" and type(x) is not {maybe.__name__}" if maybe in _INLINE else ""
        check = f"if x is not None{differs}: {check}"
    if field.default is _ABSENT and field.default_factory is _ABSENT:
        return [
            f"        at = {name!r}",
            f"        x = value[{name!r}]",
            f"        {check}",
            f"        {store}",
        ]
    make = f"default_{i}" if field.default is not _ABSENT else f"default_{i}()"
    return [
        f"        at = {name!r}",
        f"        if {name!r} in value:",
        f"            x = value[{name!r}]",
        f"            {check}",
        "        else:",
        f"            x = {make}",
        f"        {store}",
    ]


def _compiled(source: str, kind: type, names: dict[str, Any]) -> Callable[[Any], Any]:
    made: dict[str, Any] = {}
    code = compile(source, f"<record {kind.__qualname__}>", "exec")
    exec(code, names, made)  # noqa: S102  # source of our own making, see the module's docstring
    (function,) = made.values()
    return typing.cast(Callable[[Any], Any], function)


def _optional(hint: Any) -> Any | None:
    """X of `X | None`; None for what is no such type."""
    if typing.get_origin(hint) not in (types.UnionType, typing.Union):
        return None
    inner = [one for one in typing.get_args(hint) if one is not type(None)]
    return _bare(inner[0]) if len(inner) == 1 else None


def _bare(kind: Any) -> Any:
    while isinstance(kind, typing.NewType):
        kind = kind.__supertype__
    return kind
