"""Objects whose histories are checked: a register, and one name of the store's projects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

ABSENT = None


@dataclass(frozen=True, slots=True)
class Read:
    key: str = ""


@dataclass(frozen=True, slots=True)
class Write:
    value: Any
    key: str = ""


@dataclass(frozen=True, slots=True)
class CompareAndSet:
    """Gives whether it was `expected`, and is `value` now."""

    expected: Any
    value: Any
    key: str = ""


class Register:
    """Of one key: `check(history, Register(), key_of=key)` checks a map of them."""

    initial: Any = ABSENT

    def apply(self, state: Any, asked: Any) -> tuple[Any, Any]:
        match asked:
            case Read():
                return state, state
            case Write(value):
                return value, None
            case CompareAndSet(expected, value):
                return (value, True) if state == expected else (state, False)
        raise TypeError(asked)


def key(asked: Read | Write | CompareAndSet) -> str:
    return asked.key


CREATED, DELETED, CONFLICT, NOT_FOUND = "created", "deleted", "conflict", "not_found"


@dataclass(frozen=True, slots=True)
class Create:
    """Refused as a conflict while another project has the name."""

    request_id: str
    name: str
    project_id: str


@dataclass(frozen=True, slots=True)
class Delete:
    request_id: str
    name: str
    project_id: str


@dataclass(frozen=True, slots=True)
class Look:
    """Which project has the name; None: no one."""

    name: str


@dataclass(frozen=True, slots=True)
class NameState:
    project_id: str | None = None
    answered: frozenset[tuple[str, str]] = frozenset()  # request id and what it was told


class ProjectName:
    """One name. A request asked again is told what it was told, and does nothing."""

    initial = NameState()

    def apply(self, state: NameState, asked: Any) -> tuple[NameState, Any]:
        if isinstance(asked, Look):
            return state, state.project_id
        known = next((told for request_id, told in state.answered if request_id == asked.request_id), None)
        if known is not None:
            return state, known
        project_id = after = state.project_id
        match asked:
            case Create():
                told = CREATED if project_id is None else CONFLICT
                after = asked.project_id if project_id is None else project_id
            case Delete():
                told = DELETED if project_id == asked.project_id else NOT_FOUND
                after = None if project_id == asked.project_id else project_id
            case _:
                raise TypeError(asked)
        return NameState(after, state.answered | {(asked.request_id, told)}), told


def name(asked: Create | Delete | Look) -> str:
    return asked.name
