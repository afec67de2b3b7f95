"""AggregateImagePropertiesIsolation: a host whose aggregates say something about a property takes images that
say the same about it, or nothing."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from fabric.core.placement.changes import Change, other_aggregate, without_image_properties
from fabric.core.placement.filters.contract import Refusal
from fabric.core.placement.host_table import HostTable, Mask
from fabric.core.placement.request import PlacementRequest


class AggregateImagePropertiesIsolation:
    name = "AggregateImagePropertiesIsolation"

    def applies(self, request: PlacementRequest, table: HostTable) -> bool:
        return table.has_any_key(request.image_properties)

    def passes(self, request: PlacementRequest, table: HostTable) -> Mask:
        masks = [
            _agreeing(table, name, value)
            for name, value in request.image_properties.items()
            if table.with_key(name)
        ]
        return masks[0] if len(masks) == 1 else np.logical_and.reduce(masks)

    def refusal(self, request: PlacementRequest, table: HostTable, place: int) -> Refusal:
        metadata = table.metadata_of(place)
        parts = [
            f"{name} is {' or '.join(sorted(metadata[name]))}, not {request.image_properties[name]}"
            for name in self._wrong(request, table, place)
        ]
        return Refusal(filter_name=self.name, reason="kept for other images", remark=", ".join(parts))

    def _wrong(self, request: PlacementRequest, table: HostTable, place: int) -> list[str]:
        metadata = table.metadata_of(place)
        return [
            name
            for name, value in sorted(request.image_properties.items())
            if name in metadata and value not in metadata[name]
        ]

    def cures(self, request: PlacementRequest, table: HostTable, place: int) -> Iterable[Change]:
        wrong = self._wrong(request, table, place)
        yield without_image_properties(*wrong)
        host_id = table.hosts[place].host.host_id
        for aggregate in table.around.aggregates:
            if host_id in aggregate.host_ids and all(name in aggregate.metadata for name in wrong):
                said = {name: request.image_properties[name] for name in wrong}
                words = " and ".join(f"{name}={value}" for name, value in said.items())
                metadata = {**aggregate.metadata, **said}
                yield other_aggregate(
                    f"aggregate {aggregate.name} had {words}", aggregate, said, metadata=metadata
                )


def _agreeing(table: HostTable, name: str, value: str) -> Mask:
    """Where no aggregate says anything of the property, or one says this."""
    saying = table.with_key(name)
    return table.of_aggregates(
        ("image property", name, value),
        lambda: ~table.in_any(saying) | table.in_any(each for each in saying if value in each.values(name)),
    )
