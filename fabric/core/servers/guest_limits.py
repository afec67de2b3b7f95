"""How much of its host a guest may use, by its flavor's `quota:` extra specs.

Sources: Nova's "Extra Specs" (`quota`); libvirt's "Domain XML format" (cputune, iotune, bandwidth), whose
words and units Nova passes on as they are; QEMU's rules of throttling.

0 is no limit, as in libvirt. Nova also takes VMware's limits, reservations and shares by level, and its other
drivers ignore them: here they are refused, for nobody would keep them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

PREFIX = "quota:"
SHARES, PERIOD, QUOTA = "quota:cpu_shares", "quota:cpu_period", "quota:cpu_quota"
SHARES_MIN, SHARES_MAX = 2, 262_144
PERIOD_MIN_US, PERIOD_MAX_US = 1_000, 1_000_000
QUOTA_MIN_US, QUOTA_MAX_US = 1_000, 17_592_186_044_415
DISK_MAX = 10**15  # bytes or operations a second: QEMU's largest
BURST_MAX_S = 1_000_000
RATE_MAX_KB_S = 4_000_000  # the kernel counts in 32 bits of bytes a second
BURST_MAX_KB = 1 << 32

_DISK = re.compile(r"quota:disk_(?:read|write|total)_(?:bytes|iops)_sec(?:_max(?:_length)?)?")
_VIF = re.compile(r"quota:vif_(?:inbound|outbound)_(?:average|peak|burst)")
_VMWARE = re.compile(r"quota:(?:cpu|memory|disk_io|vif)_(?:limit|reservation|shares_level|shares_share)")
_NUMBER = re.compile(r"-?[0-9]{1,18}")


class LimitsError(ValueError):
    """Limits that no guest can have; the text is for whoever asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuLimits:
    """`shares`: its weight against other guests; 0: the hypervisor's own. Each vCPU runs for `quota_us` of
    every `period_us` at most; a quota of 0 is no limit, a period of 0 the hypervisor's own."""

    shares: int = 0
    period_us: int = 0
    quota_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskLimit:
    """Of each of its disks. It may have `burst` a second for `burst_s` seconds; 0: no burst beyond."""

    way: str  # "read", "write", "total"
    unit: str  # "bytes", "iops"
    per_s: int
    burst: int = 0
    burst_s: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class VifLimit:
    """Of each of its ports, one way. A burst of `burst_kb` may go at `peak_kb_s`, or as fast as the link can
    where no peak is said; a burst of 0 is as little as need be."""

    average_kb_s: int  # 1,000 bytes a second
    peak_kb_s: int = 0
    burst_kb: int = 0  # 1,024 bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestLimits:
    cpu: CpuLimits | None = None
    disks: tuple[DiskLimit, ...] = ()  # by unit and way
    inbound: VifLimit | None = None  # into the guest
    outbound: VifLimit | None = None


NONE = GuestLimits()


def guest_limits(specs: Mapping[str, str]) -> GuestLimits:
    """What of `quota:` a flavor with them asks for. Names that are not known here ask for nothing:
    `limits_fault` tells of them. Raises LimitsError."""
    if not any(name.startswith(PREFIX) for name in specs):
        return NONE
    return GuestLimits(
        cpu=_cpu(specs),
        disks=_disks(specs),
        inbound=_vif(specs, "inbound"),
        outbound=_vif(specs, "outbound"),
    )


def limits_fault(specs: Mapping[str, str]) -> str | None:
    """What is wrong with a flavor's limits, for whoever asked; None: nothing is."""
    for name in sorted(specs):
        if not name.startswith(PREFIX):
            continue
        if _VMWARE.fullmatch(name):
            return f"{name} is for VMware hosts, and this cloud has none that would keep it. Remove it."
        if name not in (SHARES, PERIOD, QUOTA) and not _DISK.fullmatch(name) and not _VIF.fullmatch(name):
            return f"{name[:80]} is not a limit that this cloud knows. Remove it, or correct its name."
    try:
        guest_limits(specs)
    except LimitsError as error:
        return str(error)
    return None


def cpu_limit_names(specs: Mapping[str, str]) -> tuple[str, ...]:
    """Those of the specs that limit processors: hosts without the means for that are passed by."""
    names = (name for name in (SHARES, PERIOD, QUOTA) if name in specs)
    return tuple(name for name in names if specs[name].strip() not in ("0", "-1"))


def _cpu(specs: Mapping[str, str]) -> CpuLimits | None:
    if not cpu_limit_names(specs):
        return None
    return CpuLimits(
        shares=_within(specs, SHARES, SHARES_MIN, SHARES_MAX, none=("0",)),
        period_us=_within(specs, PERIOD, PERIOD_MIN_US, PERIOD_MAX_US, none=("0",)),
        quota_us=_within(specs, QUOTA, QUOTA_MIN_US, QUOTA_MAX_US, none=("0", "-1")),
    )


def _disks(specs: Mapping[str, str]) -> tuple[DiskLimit, ...]:
    found = [
        limit
        for unit in ("bytes", "iops")
        for way in ("total", "read", "write")
        if (limit := _disk(specs, way, unit)) is not None
    ]
    for unit in ("bytes", "iops"):
        ways = [limit.way for limit in found if limit.unit == unit]
        if "total" in ways and len(ways) > 1:
            raise LimitsError(
                f"quota:disk_total_{unit}_sec cannot go with quota:disk_{ways[1]}_{unit}_sec: limit either "
                "all together, or reads and writes."
            )
    return tuple(found)


def _disk(specs: Mapping[str, str], way: str, unit: str) -> DiskLimit | None:
    name = f"quota:disk_{way}_{unit}_sec"
    per_s = _within(specs, name, 0, DISK_MAX)
    burst = _within(specs, f"{name}_max", 0, DISK_MAX)
    burst_s = _within(specs, f"{name}_max_length", 0, BURST_MAX_S)
    if burst and not per_s:
        raise LimitsError(f"{name}_max needs {name}, the limit that it may be above for a while.")
    if burst and burst < per_s:
        raise LimitsError(f"{name}_max={burst} is below {name}={per_s}; it must not be.")
    if burst_s and not burst:
        raise LimitsError(f"{name}_max_length needs {name}_max, of which it is the length in seconds.")
    if burst * burst_s > DISK_MAX:
        raise LimitsError(f"{name}_max_length={burst_s} is too long for {name}_max={burst}.")
    return DiskLimit(way=way, unit=unit, per_s=per_s, burst=burst, burst_s=burst_s) if per_s else None


def _vif(specs: Mapping[str, str], way: str) -> VifLimit | None:
    name = f"quota:vif_{way}"
    average = _within(specs, f"{name}_average", 0, RATE_MAX_KB_S)
    peak = _within(specs, f"{name}_peak", 0, RATE_MAX_KB_S)
    burst = _within(specs, f"{name}_burst", 0, BURST_MAX_KB)
    if (peak or burst) and not average:
        raise LimitsError(f"{name}_{'peak' if peak else 'burst'} needs {name}_average.")
    if peak and peak < average:
        raise LimitsError(f"{name}_peak={peak} is below {name}_average={average}; it must not be.")
    return VifLimit(average_kb_s=average, peak_kb_s=peak, burst_kb=burst) if average else None


def _within(specs: Mapping[str, str], name: str, low: int, high: int, *, none: tuple[str, ...] = ()) -> int:
    """0: it is not there, or one of those that stand for no limit."""
    text = specs.get(name)
    if text is None or text.strip() in none:
        return 0
    if not _NUMBER.fullmatch(text.strip()) or not low <= int(text) <= high:
        beside = "".join(f" or {each}" for each in none)
        raise LimitsError(f"{name}={text[:40]} must be a whole number from {low} to {high}{beside}.")
    return int(text)
