"""NUMATopologyFilter: the guest's NUMA nodes fit the host's, one beside the other, and its devices are near.

What asks for a topology is in `core.topology.wish`. A guest without any of that may be anywhere. One that
only wants dedicated processors gets them of one node; where a host says nothing of its nodes its PCPUs are
counted and no more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from fabric.core.placement.changes import Change, without_extra_specs
from fabric.core.placement.filters.contract import Refusal
from fabric.core.placement.filters.room_columns import numa_column
from fabric.core.placement.host_table import HostTable, Mask
from fabric.core.placement.request import PlacementRequest
from fabric.core.placement.resources import CPU_POLICY, DEDICATED_MASK
from fabric.core.topology.give import give, shortage
from fabric.core.topology.wish import AFFINITY, PAGES


class NUMATopologyFilter:
    name = "NUMATopologyFilter"

    def applies(self, request: PlacementRequest, table: HostTable) -> bool:
        wish = request.topology
        return bool(request.topology_fault) or (wish is not None and bool(wish.cells))

    def passes(self, request: PlacementRequest, table: HostTable) -> Mask:
        wish = request.topology
        if wish is None:
            return np.zeros(len(table), dtype=np.bool_)
        return table.mask_of_rooms(numa_column(wish))

    def refusal(self, request: PlacementRequest, table: HostTable, place: int) -> Refusal:
        wish, reason = request.topology, "NUMA nodes do not fit"
        if wish is None:
            remark, reason = request.topology_fault, "no host can be asked for such NUMA nodes or devices"
        else:
            room = table.hosts[place].room
            cells_alone = replace(wish, devices={}) if wish.devices else wish
            if wish.devices and give(room, cells_alone) is not None:
                cells_alone = wish
            remark = shortage(room, cells_alone)
        return Refusal(filter_name=self.name, reason=reason, remark=remark)

    def cures(self, request: PlacementRequest, table: HostTable, place: int) -> Iterable[Change]:
        about = [
            key
            for key in request.flavor.extra_specs
            if key.startswith("hw:numa") or key in (CPU_POLICY, DEDICATED_MASK, PAGES, AFFINITY)
        ]
        if about:
            yield without_extra_specs(*about)
