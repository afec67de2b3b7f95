"""Weighers of one column: what is free, what goes on, how new the hypervisor is."""

from __future__ import annotations

from collections.abc import Callable

from fabric.core.placement.host_table import HostTable, Ints
from fabric.core.placement.request import PlacementRequest
from fabric.core.placement.resources import DISK_GB, MEMORY_MB, VCPU


class ColumnWeigher:
    """`minval` is Nova's: with 0, half of the most free counts as half, however little the others have."""

    maxval: float | None = None

    def __init__(
        self,
        name: str,
        setting: str,
        multiplier: float,
        column: Callable[[HostTable], Ints],
        *,
        minval: float | None = None,
    ) -> None:
        self.name = name
        self.setting = setting
        self.multiplier = multiplier
        self.minval = minval
        self._column = column

    def column(self, request: PlacementRequest, table: HostTable) -> Ints | None:
        return self._column(table)


ram_weigher = ColumnWeigher(
    "RAMWeigher", "ram_weight_multiplier", 1.0, lambda table: table.free[MEMORY_MB], minval=0
)
cpu_weigher = ColumnWeigher(
    "CPUWeigher", "cpu_weight_multiplier", 1.0, lambda table: table.free[VCPU], minval=0
)
disk_weigher = ColumnWeigher(
    "DiskWeigher", "disk_weight_multiplier", 1.0, lambda table: table.free[DISK_GB], minval=0
)
io_ops_weigher = ColumnWeigher(
    "IoOpsWeigher", "io_ops_weight_multiplier", -1.0, lambda table: table.io_ops, minval=0
)
num_instances_weigher = ColumnWeigher(
    "NumInstancesWeigher", "num_instances_weight_multiplier", 0.0, lambda table: table.servers
)
build_failure_weigher = ColumnWeigher(
    "BuildFailureWeigher", "build_failure_weight_multiplier", -1_000_000.0, lambda table: table.build_failures
)
hypervisor_version_weigher = ColumnWeigher(
    "HypervisorVersionWeigher", "hypervisor_version_weight_multiplier", 1.0, lambda table: table.version
)
