"""What a server takes from a host, and how much a host may give. The scheduler's and `apply`'s arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

from fabric.core.nodes.model import Host
from fabric.core.servers.model import FlavorSnapshot

MB_PER_GB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    vcpus: int = 0
    memory_mb: int = 0
    disk_gb: int = 0

    def plus(self, other: Claim) -> Claim:
        return Claim(
            vcpus=self.vcpus + other.vcpus,
            memory_mb=self.memory_mb + other.memory_mb,
            disk_gb=self.disk_gb + other.disk_gb,
        )


def claim_of(flavor: FlavorSnapshot) -> Claim:
    """Disk counts root, ephemeral and swap, swap rounded up to whole GB. Source: Nova's
    `resources_from_flavor`."""
    swap_gb = (flavor.swap_mb + MB_PER_GB - 1) // MB_PER_GB
    return Claim(
        vcpus=flavor.vcpus,
        memory_mb=flavor.memory_mb,
        disk_gb=flavor.root_gb + flavor.ephemeral_gb + swap_gb,
    )


def limits_of(host: Host) -> Claim:
    """How much may be claimed on a host in all: (total - reserved) * allocation ratio, rounded down.
    Source: Placement's inventories."""
    memory_mb = max(0, host.memory_mb - host.reserved_memory_mb)
    return Claim(
        vcpus=host.vcpus * host.cpu_ratio_milli // 1000,
        memory_mb=memory_mb * host.memory_ratio_milli // 1000,
        disk_gb=host.disk_gb * host.disk_ratio_milli // 1000,
    )
