"""Which handler applies which command."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from fabric.store.apply.context import ApplyContext, Result
from proto.commands import Command

C = TypeVar("C", bound=Command)
Handler = Callable[[ApplyContext, Any], Result]


@dataclass(frozen=True, slots=True)
class Registered:
    handler: Handler
    object_of: Callable[[Any], str]  # the id of what the command is about, for the audit trail


Handlers = Mapping[str, Registered]  # by the command's KIND
_HANDLERS: dict[str, Registered] = {}


def handles(
    kind: type[C], object_of: Callable[[C], str]
) -> Callable[[Callable[[ApplyContext, C], Result]], Callable[[ApplyContext, C], Result]]:
    """Registers the decorated function for commands of `kind`."""

    def register(handler: Callable[[ApplyContext, C], Result]) -> Callable[[ApplyContext, C], Result]:
        assert kind.KIND not in _HANDLERS, kind
        _HANDLERS[kind.KIND] = Registered(handler, object_of)
        return handler

    return register


def all_handlers() -> Handlers:
    """The product's, which is whole once `fabric.store.apply` is imported (tested)."""
    return _HANDLERS


def handled_kinds() -> tuple[str, ...]:
    return tuple(sorted(_HANDLERS))
