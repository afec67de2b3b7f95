"""A host aggregate as rows know it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from proto.ids import NodeId

ZONE_KEY = "availability_zone"  # of an aggregate's metadata


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregate:
    """`aggregate_id` is a small number, as Nova's. `metadata` has its zone under ZONE_KEY, if it is one.

    Invariant: a host's aggregates name one zone at most.
    """

    aggregate_id: int
    uuid: str
    name: str
    metadata: Mapping[str, str]
    host_ids: tuple[NodeId, ...]
    created_ms: int
    updated_ms: int | None

    @property
    def availability_zone(self) -> str | None:
        return self.metadata.get(ZONE_KEY)
