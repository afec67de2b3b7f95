"""Queries and their answers as plain values, for nodes that hold no rows.

Only queries listed in `REMOTE` may cross: what a host needs to know, nothing more.
"""

from __future__ import annotations

import typing
from typing import Any, TypeVar

from fabric.core.images.queries import BlobsInUse
from fabric.core.nodes.queries import ListRoleGrants
from fabric.core.queries import Query
from fabric.core.servers.queries import GetAssignments
from proto.codec import Plain
from proto.errors import WireError
from proto.records import from_wire, to_wire

T = TypeVar("T")

REMOTE: dict[str, type[Query[Any]]] = {
    kind.__name__: kind for kind in (GetAssignments, ListRoleGrants, BlobsInUse)
}


def query_to_plain(query: Query[Any]) -> dict[str, Plain]:
    """Raises WireError `unknown_query` for one that may not cross."""
    name = type(query).__name__
    if REMOTE.get(name) is not type(query):
        raise WireError("unknown_query", name)
    return {"query": name, "body": to_wire(query)}


def query_from_plain(plain: typing.Mapping[str, Plain]) -> Query[Any]:
    kind = REMOTE.get(str(plain.get("query")))
    if kind is None:
        raise WireError("unknown_query", str(plain.get("query"))[:64])
    return from_wire(kind, plain.get("body"))


def answer_from_plain(query: Query[T], plain: Plain) -> T:
    """Raises WireError `bad_field`."""
    return typing.cast(T, from_wire(_answer_type(type(query)), plain, type(query).__name__))


def _answer_type(kind: type[Query[Any]]) -> Any:
    """The X of `class Kind(Query[X])`."""
    for base in getattr(kind, "__orig_bases__", ()):
        if typing.get_origin(base) is Query:
            return typing.get_args(base)[0]
    raise TypeError(f"{kind.__name__} does not say what its answer is")
