"""What may be asked about aggregates."""

from __future__ import annotations

from dataclasses import dataclass

from fabric.core.aggregates.model import Aggregate
from fabric.core.queries import Query


@dataclass(frozen=True, slots=True, kw_only=True)
class ListAggregates(Query[tuple[Aggregate, ...]]):
    """All, by number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetAggregate(Query[Aggregate | None]):
    aggregate_id: int
