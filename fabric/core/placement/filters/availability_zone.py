"""AvailabilityZoneFilter: the host is in the zone asked for, if one was."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from fabric.core.placement.changes import Change, ask_otherwise
from fabric.core.placement.filters.contract import Refusal
from fabric.core.placement.host_table import HostTable, Mask
from fabric.core.placement.request import PlacementRequest


class AvailabilityZoneFilter:
    name = "AvailabilityZoneFilter"

    def applies(self, request: PlacementRequest, table: HostTable) -> bool:
        return request.zone is not None

    def passes(self, request: PlacementRequest, table: HostTable) -> Mask:
        assert request.zone is not None
        return table.in_zone(request.zone)

    def refusal(self, request: PlacementRequest, table: HostTable, place: int) -> Refusal:
        return Refusal(
            filter_name=self.name,
            reason="in another availability zone",
            remark=f"is in zone {table.zone(place)}, not {request.zone}",
        )

    def cures(self, request: PlacementRequest, table: HostTable, place: int) -> Iterable[Change]:
        zone = table.zone(place)
        yield ask_otherwise(
            f"it was asked for in zone {zone}", "availability_zone", zone, lambda was: replace(was, zone=zone)
        )
