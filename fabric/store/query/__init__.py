"""Answers to queries, one file for each domain. `answer(connection, query)` is the only way in."""

from fabric.store.query import (  # noqa: F401  # importing them fills the registry
    aggregates,
    assignments,
    catalog,
    identity,
    images,
    limits,
    moves,
    networks,
    nodes,
    origins,
    placement,
    providers,
    quotas,
    server_groups,
    servers,
)
from fabric.store.query.registry import answer, answered_kinds

__all__ = ["answer", "answered_kinds"]
