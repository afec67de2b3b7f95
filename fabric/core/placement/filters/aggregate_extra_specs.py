"""AggregateInstanceExtraSpecsFilter: the flavor's extra specs against the metadata of the host's aggregates.

Scope `aggregate_instance_extra_specs:`, or none. A host that is in several aggregates has all their values.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from fabric.core.placement.changes import Change, other_aggregate, without_extra_specs
from fabric.core.placement.filters.compute_capabilities import KNOWN
from fabric.core.placement.filters.contract import Refusal
from fabric.core.placement.host_facts import AggregateFacts
from fabric.core.placement.host_table import HostTable, Mask
from fabric.core.placement.operators import matches
from fabric.core.placement.request import PlacementRequest

SCOPE = "aggregate_instance_extra_specs:"
_NOT_METADATA = frozenset({"group_policy"})


class AggregateInstanceExtraSpecsFilter:
    name = "AggregateInstanceExtraSpecsFilter"

    def applies(self, request: PlacementRequest, table: HostTable) -> bool:
        return bool(_wanted(request))

    def passes(self, request: PlacementRequest, table: HostTable) -> Mask:
        masks = [_having(table, name, value) for _, name, value in _wanted(request)]
        return masks[0] if len(masks) == 1 else np.logical_and.reduce(masks)

    def refusal(self, request: PlacementRequest, table: HostTable, place: int) -> Refusal:
        metadata = table.metadata_of(place)
        parts = [
            f"{name} is {' or '.join(sorted(metadata[name]))}, not {value}"
            if name in metadata
            else f"is in no aggregate with {name}"
            for _, name, value in self._wrong(request, table, place)
        ]
        return Refusal(filter_name=self.name, reason="in no such aggregate", remark=", ".join(parts))

    def _wrong(self, request: PlacementRequest, table: HostTable, place: int) -> list[tuple[str, str, str]]:
        metadata = table.metadata_of(place)
        return [
            (key, name, value)
            for key, name, value in _wanted(request)
            if not any(matches(each, value) for each in metadata.get(name, ()))
        ]

    def cures(self, request: PlacementRequest, table: HostTable, place: int) -> Iterable[Change]:
        wrong = self._wrong(request, table, place)
        yield without_extra_specs(*(key for key, _, _ in wrong))
        host_id = table.hosts[place].host.host_id
        plain = {name: value for _, name, value in wrong if matches(value, value)}
        for aggregate in table.around.aggregates:
            if host_id in aggregate.host_ids and len(plain) == len(wrong):
                said = " and ".join(f"{name}={value}" for name, value in plain.items())
                metadata = {**aggregate.metadata, **plain}
                yield other_aggregate(
                    f"aggregate {aggregate.name} had {said}", aggregate, plain, metadata=metadata
                )
        for aggregate in table.around.aggregates:
            if host_id not in aggregate.host_ids and all(
                name in aggregate.metadata and _says(aggregate, name, value) for _, name, value in wrong
            ):
                host_name = table.hosts[place].host.name
                yield other_aggregate(
                    f"{host_name} was in aggregate {aggregate.name}",
                    aggregate,
                    host_name,
                    host_ids=aggregate.host_ids | {host_id},
                )


def _having(table: HostTable, name: str, value: str) -> Mask:
    """Where an aggregate says it."""
    return table.of_aggregates(
        (SCOPE, name, value),
        lambda: table.in_any(each for each in table.with_key(name) if _says(each, name, value)),
    )


def _says(aggregate: AggregateFacts, name: str, value: str) -> bool:
    return any(matches(each, value) for each in aggregate.values(name))


def _wanted(request: PlacementRequest) -> list[tuple[str, str, str]]:
    """(extra spec, metadata key, value)."""
    if not request.flavor.extra_specs:
        return []
    return [
        (key, key.removeprefix(SCOPE), value)
        for key, value in sorted(request.flavor.extra_specs.items())
        if key.startswith(SCOPE) or (":" not in key and key not in KNOWN and key not in _NOT_METADATA)
    ]
