"""PciPassthroughFilter: the devices that the flavor asks for by alias are free (`pci_passthrough:alias` =
"gpu:2,nic:1"). Whether they are near enough is for NUMATopologyFilter."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from fabric.core.placement.changes import Change, other_host, without_extra_specs
from fabric.core.placement.filters.contract import Refusal
from fabric.core.placement.filters.room_columns import pci_column
from fabric.core.placement.host_table import HostTable, Mask
from fabric.core.placement.request import PlacementRequest
from fabric.core.topology.facts import with_more_devices
from fabric.core.topology.wish import ALIAS


class PciPassthroughFilter:
    name = "PciPassthroughFilter"

    def applies(self, request: PlacementRequest, table: HostTable) -> bool:
        return request.topology is not None and bool(request.topology.devices)

    def passes(self, request: PlacementRequest, table: HostTable) -> Mask:
        assert request.topology is not None
        return table.mask_of_rooms(pci_column(request.topology))

    def refusal(self, request: PlacementRequest, table: HostTable, place: int) -> Refusal:
        assert request.topology is not None
        room = table.hosts[place].room
        for alias, count in request.topology.devices.items():
            if room.free(alias) < count:
                return Refusal(
                    filter_name=self.name,
                    reason=f"not enough PCI devices {alias}",
                    needed=count,
                    free=room.free(alias),
                    unit=f"devices {alias}",
                )
        names = " and ".join(request.topology.devices)
        return Refusal(
            filter_name=self.name,
            reason="not enough PCI devices",
            remark=f"has some for each of {names}, and not for all of them at once",
        )

    def cures(self, request: PlacementRequest, table: HostTable, place: int) -> Iterable[Change]:
        yield without_extra_specs(ALIAS)
        assert request.topology is not None
        facts = table.hosts[place]
        room = facts.room
        asked = request.topology.devices
        more = {alias: n - room.free(alias) for alias, n in asked.items() if room.free(alias) < n}
        if not more:
            return
        said = " and ".join(f"{count} more {alias}" for alias, count in more.items())
        yield other_host(
            f"{facts.host.name} had {said}",
            facts,
            more,
            lambda now: replace(now, told=with_more_devices(now.told, more)),
        )
