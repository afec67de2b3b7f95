"""Weighers under Nova's names. Each gives a number a host; `choose` stretches them to 0..1 (from the least
among the candidates, or from the weigher's own), times the multiplier, and adds them up. CrossCellWeigher has
nothing to weigh in one cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fabric.core.placement.settings import PlacementSettings
from fabric.core.placement.weighers.columns import (
    build_failure_weigher,
    cpu_weigher,
    disk_weigher,
    hypervisor_version_weigher,
    io_ops_weigher,
    num_instances_weigher,
    ram_weigher,
)
from fabric.core.placement.weighers.contract import HostWeigher
from fabric.core.placement.weighers.image_locality import ImageLocalityWeigher
from fabric.core.placement.weighers.metrics import MetricsWeigher
from fabric.core.placement.weighers.pci import PCIWeigher
from fabric.core.placement.weighers.soft_affinity import soft_affinity_weigher, soft_anti_affinity_weigher

__all__ = ["WEIGHERS", "HostWeigher", "MakeWeigher"]

MakeWeigher = Callable[[PlacementSettings], HostWeigher]

WEIGHERS: Mapping[str, MakeWeigher] = {
    "RAMWeigher": lambda settings: ram_weigher,
    "CPUWeigher": lambda settings: cpu_weigher,
    "DiskWeigher": lambda settings: disk_weigher,
    "IoOpsWeigher": lambda settings: io_ops_weigher,
    "NumInstancesWeigher": lambda settings: num_instances_weigher,
    "PCIWeigher": lambda settings: PCIWeigher(),
    "ServerGroupSoftAffinityWeigher": lambda settings: soft_affinity_weigher,
    "ServerGroupSoftAntiAffinityWeigher": lambda settings: soft_anti_affinity_weigher,
    "MetricsWeigher": MetricsWeigher,
    "BuildFailureWeigher": lambda settings: build_failure_weigher,
    "ImageLocalityWeigher": lambda settings: ImageLocalityWeigher(),
    "HypervisorVersionWeigher": lambda settings: hypervisor_version_weigher,
}
