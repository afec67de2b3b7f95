"""What this host's processors do, as Nova's monitor `cpu.virt_driver` tells it: whole percents of the time
since the last sample, and the clock rate in MHz. Of Nova's the times since the boot are left out: they change
with every look, and whatever changes is told to every node.

Percents wobble. So a new sample counts only once one of them is STEP points away from what was said last.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fabric.core.placement.host_word import CPU_FREQUENCY, CPU_PERCENTS

log = logging.getLogger(__name__)

EVERY_S = 60.0  # as often as Nova's hosts tell theirs
STEP = 5
_FIELDS = 7  # user nice system idle iowait irq softirq: later kernels have more


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuTimes:
    """Since the boot, of all processors together, in the kernel's ticks; divided as libvirt does it."""

    user: int = 0
    kernel: int = 0
    idle: int = 0
    iowait: int = 0

    @property
    def used(self) -> int:
        return self.user + self.kernel + self.iowait


def read_times(line: str) -> CpuTimes:
    """Of the first line of /proc/stat. Raises ValueError. Source: proc(5)."""
    name, *texts = line.split() or [""]
    if name != "cpu" or len(texts) < _FIELDS:
        raise ValueError(f"not the sum over all processors: {line[:80]!r}")
    user, nice, system, idle, iowait, irq, softirq = map(int, texts[:_FIELDS])
    return CpuTimes(user=user + nice, kernel=system + irq + softirq, idle=idle, iowait=iowait)


def percents(before: CpuTimes, now: CpuTimes) -> dict[str, int]:
    """By Nova's names, cut to whole ones as Nova cuts them; empty when no time has passed."""
    parts = (
        now.used - before.used,
        now.user - before.user,
        now.kernel - before.kernel,
        now.idle - before.idle,
        now.iowait - before.iowait,
    )
    total = parts[0] + parts[3]
    if total <= 0:
        return {}
    return {name: max(0, part) * 100 // total for name, part in zip(CPU_PERCENTS, parts, strict=True)}


class CpuMonitor:
    def __init__(self, root: Path = Path("/"), *, every_s: float = EVERY_S) -> None:
        self._root = root
        self._every_s = every_s
        self._times = CpuTimes()  # so that the first sample is of the time since the boot
        self._metrics: Mapping[str, int] = {}

    @property
    def metrics(self) -> Mapping[str, int]:
        """By Nova's names; empty as long as nothing could be read."""
        return self._metrics

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.sample()
            await asyncio.sleep(self._every_s)

    async def sample(self) -> None:
        """In a thread: the kernel adds up the line over all processors."""
        try:
            times, mhz = await asyncio.to_thread(self._read)
        except (OSError, ValueError) as error:
            log.warning("processors not measured", extra={"error": str(error)})
            self._metrics = {}
            return
        found, self._times = percents(self._times, times), times
        if any(abs(value - self._metrics.get(name, -STEP)) >= STEP for name, value in found.items()):
            self._metrics = found | ({CPU_FREQUENCY: mhz} if mhz else {})

    def _read(self) -> tuple[CpuTimes, int]:
        with (self._root / "proc/stat").open(encoding="ascii") as lines:
            times = read_times(lines.readline())
        return times, self._mhz()

    def _mhz(self) -> int:
        """The highest the first processor may run at, which does not wobble; else what it runs at; 0 where
        neither is told."""
        try:
            path = self._root / "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq"
            return int(path.read_text(encoding="ascii")) // 1_000
        except (OSError, ValueError):
            pass
        with (self._root / "proc/cpuinfo").open(encoding="ascii", errors="replace") as lines:
            for line in lines:
                name, _, value = line.partition(":")
                if name.strip() == "cpu MHz":
                    return int(float(value))
        return 0
