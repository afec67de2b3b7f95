"""Weighers of one column: what is free, what goes on, how new the hypervisor is."""

from __future__ import annotations

from fabric.core.placement.host_table import (
    BUILD_FAILURES,
    FIGURES,
    IO_OPS,
    SERVERS,
    VERSION,
    Floats,
    HostTable,
)
from fabric.core.placement.request import PlacementRequest
from fabric.core.placement.resources import DISK_GB, MEMORY_MB, VCPU


class ColumnWeigher:
    """`figure`: of FIGURES; of a resource class, what is free of it. `minval` is Nova's: with 0, half of the
    most free counts as half, however little the others have."""

    maxval: float | None = None

    def __init__(
        self,
        name: str,
        setting: str,
        multiplier: float,
        figure: str,
        *,
        minval: float | None = None,
    ) -> None:
        self.name = name
        self.setting = setting
        self.multiplier = multiplier
        self.minval = minval
        self.row = FIGURES.index(figure)

    def column(self, request: PlacementRequest, table: HostTable) -> Floats | None:
        column: Floats = table.figures[self.row]
        return column


ram_weigher = ColumnWeigher("RAMWeigher", "ram_weight_multiplier", 1.0, MEMORY_MB, minval=0)
cpu_weigher = ColumnWeigher("CPUWeigher", "cpu_weight_multiplier", 1.0, VCPU, minval=0)
disk_weigher = ColumnWeigher("DiskWeigher", "disk_weight_multiplier", 1.0, DISK_GB, minval=0)
io_ops_weigher = ColumnWeigher("IoOpsWeigher", "io_ops_weight_multiplier", -1.0, IO_OPS, minval=0)
num_instances_weigher = ColumnWeigher("NumInstancesWeigher", "num_instances_weight_multiplier", 0.0, SERVERS)
build_failure_weigher = ColumnWeigher(
    "BuildFailureWeigher", "build_failure_weight_multiplier", -1_000_000.0, BUILD_FAILURES
)
hypervisor_version_weigher = ColumnWeigher(
    "HypervisorVersionWeigher", "hypervisor_version_weight_multiplier", 1.0, VERSION
)
