"""AggregateTypeAffinityFilter: an aggregate with `instance_type` takes the flavors that it names."""

from __future__ import annotations

from collections.abc import Iterable

from fabric.core.placement.changes import Change, other_aggregate
from fabric.core.placement.filters.contract import Refusal
from fabric.core.placement.filters.kept_for import kept_for
from fabric.core.placement.host_facts import AggregateFacts
from fabric.core.placement.host_table import HostTable, Mask
from fabric.core.placement.request import PlacementRequest

KEY = "instance_type"


class AggregateTypeAffinityFilter:
    name = "AggregateTypeAffinityFilter"

    def applies(self, request: PlacementRequest, table: HostTable) -> bool:
        return bool(table.with_key(KEY))

    def passes(self, request: PlacementRequest, table: HostTable) -> Mask:
        """Of several such aggregates any may name it. Source: Nova's filter."""
        return kept_for(table, KEY, _flavors).takes(request.flavor.name, table)

    def refusal(self, request: PlacementRequest, table: HostTable, place: int) -> Refusal:
        return Refusal(
            filter_name=self.name,
            reason="kept for other flavors",
            remark=f"is kept for {' and '.join(sorted(table.metadata_of(place)[KEY]))}",
        )

    def cures(self, request: PlacementRequest, table: HostTable, place: int) -> Iterable[Change]:
        host_id = table.hosts[place].host.host_id
        for aggregate in table.with_key(KEY):
            if host_id in aggregate.host_ids and request.flavor.name not in aggregate.values(KEY):
                listed = {KEY: f"{aggregate.metadata[KEY]},{request.flavor.name}"}
                yield other_aggregate(
                    f"aggregate {aggregate.name} named flavor {request.flavor.name}",
                    aggregate,
                    listed,
                    metadata={**aggregate.metadata, **listed},
                )


def _flavors(aggregate: AggregateFacts) -> frozenset[str] | None:
    return aggregate.values(KEY) if KEY in aggregate.metadata else None
