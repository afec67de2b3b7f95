"""Reads as values: a query is a frozen record, so it can be run here or sent to who has the rows.

Each domain's `queries.py` lists its own. `fabric/store/query/` knows how to answer them; nobody else
knows SQL. The type parameter is what the answer is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from proto.commands import Command
from proto.ids import LogIndex

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Query(Generic[T_co]):
    """Base of all queries. Subclasses are frozen dataclasses."""

    __slots__ = ()


class Consistency(StrEnum):
    """DESIGN section 5. With one voter all three are the same read."""

    SESSION = "session"
    LINEARIZABLE = "linearizable"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class Applied:
    """A command that is durable and applied. `result` holds what the handler wants to tell the caller."""

    index: LogIndex
    result: Mapping[str, object]
    replayed: bool = False  # the same request id was applied before; nothing new happened


@dataclass(frozen=True, slots=True)
class AppliedEntry:
    """Told to listeners after the transaction committed; rejected commands and replays are not told."""

    index: LogIndex
    command: Command
    applied: Applied


Listener = Callable[[AppliedEntry], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Keyset paging: the rows after `marker` in the sort order, at most `limit`.

    `sort` holds (field, "asc"|"desc"); the id is always the last tie-breaker. An unknown marker is
    `CommandRejectedError("not_found")`-like: queries raise `MarkerNotFoundError`.
    """

    limit: int | None = None
    marker: str | None = None
    sort: tuple[tuple[str, str], ...] = ()


class MarkerNotFoundError(Exception):
    """The marker names no row the caller can see."""


class BadFilterError(ValueError):
    """A filter or sort key is not one we can answer: bad regular expression, unknown field. A 400."""
