"""A simulated guest's limits: nothing slows it down, but what it would be held to is kept with it."""

from __future__ import annotations

from drivers.contract import Capabilities, DomainSpec
from proto.errors import DriverError


def limits_of(spec: DomainSpec, host: Capabilities) -> dict[str, int]:
    """By words like "cpu_quota_us", "disk_write_iops", "disk_total_bytes_burst". Raises DriverError: the host
    does not limit processors."""
    found: dict[str, int] = {}
    if spec.cpu_limits is not None:
        if not host.limits_cpu:
            raise DriverError("this host cannot limit processors")
        cpu = spec.cpu_limits
        found |= {"cpu_shares": cpu.shares, "cpu_period_us": cpu.period_us, "cpu_quota_us": cpu.quota_us}
    for limit in spec.disk_limits:
        name = f"disk_{limit.way}_{limit.unit}"
        found |= {name: limit.per_s, f"{name}_burst": limit.burst, f"{name}_burst_s": limit.burst_s}
    return {name: number for name, number in found.items() if number}
