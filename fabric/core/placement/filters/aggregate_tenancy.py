"""AggregateMultiTenancyIsolation: an aggregate with `filter_tenant_id` (or that and a suffix) is for the
projects that it lists, and for nobody else."""

from __future__ import annotations

from collections.abc import Iterable

from fabric.core.placement.changes import Change, other_aggregate
from fabric.core.placement.filters.contract import Refusal
from fabric.core.placement.filters.kept_for import kept_for
from fabric.core.placement.host_facts import AggregateFacts
from fabric.core.placement.host_table import HostTable, Mask
from fabric.core.placement.request import PlacementRequest

KEY = "filter_tenant_id"


class AggregateMultiTenancyIsolation:
    name = "AggregateMultiTenancyIsolation"

    def applies(self, request: PlacementRequest, table: HostTable) -> bool:
        return bool(kept_for(table, KEY, _projects).aggregates)

    def passes(self, request: PlacementRequest, table: HostTable) -> Mask:
        """A host of several such aggregates is for the projects of all of them."""
        return kept_for(table, KEY, _projects).takes(request.project_id, table)

    def refusal(self, request: PlacementRequest, table: HostTable, place: int) -> Refusal:
        return Refusal(
            filter_name=self.name,
            reason="kept for other projects",
            remark=f"is in {', '.join(each.name for each in _closing(table, place))}, for other projects",
        )

    def cures(self, request: PlacementRequest, table: HostTable, place: int) -> Iterable[Change]:
        for aggregate in _closing(table, place):
            listed = {KEY: ",".join(sorted({*(_projects(aggregate) or ()), request.project_id}))}
            yield other_aggregate(
                f"aggregate {aggregate.name} listed project {request.project_id}",
                aggregate,
                listed,
                metadata={**aggregate.metadata, **listed},
            )


def _projects(aggregate: AggregateFacts) -> frozenset[str] | None:
    """None: it is nobody's own."""
    keys = [key for key in aggregate.metadata if key.startswith(KEY)]
    return frozenset[str]().union(*(aggregate.values(key) for key in keys)) if keys else None


def _closing(table: HostTable, place: int) -> list[AggregateFacts]:
    host_id = table.hosts[place].host.host_id
    return [each for each, _ in kept_for(table, KEY, _projects).aggregates if host_id in each.host_ids]
