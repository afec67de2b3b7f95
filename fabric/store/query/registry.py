"""Which function answers which query."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from sqlalchemy import Connection

from fabric.core.queries import Query

T = TypeVar("T")
Q = TypeVar("Q", bound=Query[Any])
Answer = Callable[[Connection, Any], Any]

_ANSWERS: dict[type[Query[Any]], Answer] = {}


def answers(kind: type[Q]) -> Callable[[Callable[[Connection, Q], Any]], Callable[[Connection, Q], Any]]:
    """Registers the decorated function for queries of `kind`."""

    def register(function: Callable[[Connection, Q], Any]) -> Callable[[Connection, Q], Any]:
        assert kind not in _ANSWERS, kind
        _ANSWERS[kind] = function
        return function

    return register


def answer(connection: Connection, query: Query[T]) -> T:
    """KeyError for a query nobody answers: impossible once the package is imported (tested).

    Raises MarkerNotFoundError, BadFilterError where the query pages or filters.
    """
    return cast(T, _ANSWERS[type(query)](connection, query))


def answered_kinds() -> frozenset[type[Query[Any]]]:
    return frozenset(_ANSWERS)
