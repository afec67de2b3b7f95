"""The object whose history is checked: a key pair's name, which exists or does not.

Creating it is refused while it exists, deleting it while it does not, so every answer tells what was before.
Answers come from the log alone, on whichever node they were asked, so they must be linearizable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

CREATED, DELETED, CONFLICT, NOT_FOUND = "created", "deleted", "conflict", "not_found"
THERE, NOT_THERE = "there", "not_there"


@dataclass(frozen=True, slots=True)
class Create:
    name: str


@dataclass(frozen=True, slots=True)
class Delete:
    name: str


@dataclass(frozen=True, slots=True)
class Look:
    """At the end, when nothing else is going on."""

    name: str


Asked = Create | Delete | Look


class Name:
    """`fabric.tests.sim.linearizability.Model` of one name."""

    initial = False

    def apply(self, state: bool, asked: Any) -> tuple[bool, str]:
        match asked:
            case Create():
                return True, CONFLICT if state else CREATED
            case Delete():
                return False, DELETED if state else NOT_FOUND
            case Look():
                return state, THERE if state else NOT_THERE
        raise TypeError(asked)


def name_of(asked: Asked) -> str:
    return asked.name
