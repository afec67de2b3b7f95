"""What may enter the log: frozen records with a stable name. See SPEC.md, "Commands".

A command carries every id, address and choice made by its proposer. The only time it may use is the
entry's own stamp. `apply` checks predicates and writes; it draws nothing and asks nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import ClassVar, TypeVar

from proto.codec import FRAME_BYTES_MAX, Plain, pack, unpack_map
from proto.errors import WireError
from proto.records import from_wire, to_wire


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """Base of all commands. `KIND` is the name in the log, "noun.verb"; never reused: where what a command
    does changes, its name is "noun.verb@2". `LEVEL` is the level from which on it may be proposed."""

    KIND: ClassVar[str] = ""
    LEVEL: ClassVar[int] = 1


Kinds = Mapping[str, type[Command]]
DOMAINS = (
    "aggregates",
    "catalog",
    "identity",
    "limits",
    "log",
    "moves",
    "networks",
    "nodes",
    "providers",
    "quotas",
    "server_groups",
    "servers",
    "shelving",
)  # files beside this one
_REGISTRY: dict[str, type[Command]] = {}
C = TypeVar("C", bound=type[Command])


def command(kind: C) -> C:
    """Class decorator: enters a command into the registry."""
    assert kind.KIND
    assert kind.KIND not in _REGISTRY, kind
    _REGISTRY[kind.KIND] = kind
    return kind


@cache
def all_commands() -> Kinds:
    """Reads every domain's file."""
    for name in DOMAINS:
        import_module(f"proto.commands.{name}")
    return MappingProxyType(_REGISTRY)


def command_to_plain(value: Command) -> dict[str, Plain]:
    return {"kind": value.KIND, "body": to_wire(value)}


def command_from_plain(plain: Plain, kinds: Kinds | None = None) -> Command:
    """`kinds`: those that the program knows; None: all that there are. Raises WireError: `not_a_map`,
    `unknown_command`, `bad_field`."""
    if not isinstance(plain, dict):
        raise WireError("not_a_map")
    kind = (all_commands() if kinds is None else kinds).get(str(plain.get("kind")))
    if kind is None:
        raise WireError("unknown_command", str(plain.get("kind"))[:64])
    return from_wire(kind, plain.get("body"), kind.KIND)


def encode_command(value: Command) -> bytes:
    return pack(command_to_plain(value), limit=FRAME_BYTES_MAX)


def decode_command(frame: bytes, kinds: Kinds | None = None) -> Command:
    return command_from_plain(unpack_map(frame, limit=FRAME_BYTES_MAX), kinds)
