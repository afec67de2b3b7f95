"""What an idle cluster costs: bytes on the wire, processor time and memory of each agent."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from bench._cluster import Cluster
from bench._processors import cpu_s


@dataclass(frozen=True, slots=True)
class Footprint:
    """Medians over the agents of a cluster, each in its own namespace."""

    sent_bytes_per_s: float  # with Ethernet headers
    sent_packets_per_s: float
    cpu_percent: float  # of one core
    rss_mb: float
    pss_mb: float  # a page shared by k processes counts as 1/k


def footprint(cluster: Cluster, seconds: float) -> Footprint:
    began = time.monotonic()
    before = {machine: (*cluster.star.sent(machine), cpu_s(pid)) for machine, pid in cluster.pids.items()}
    cluster.knowledge.listen(seconds)
    passed = time.monotonic() - began
    rows = [
        (*(now - then for now, then in zip((*cluster.star.sent(m), cpu_s(pid)), before[m], strict=True)),)
        for m, pid in cluster.pids.items()
    ]
    memory = [memory_mb(pid) for pid in cluster.pids.values()]
    return Footprint(
        sent_bytes_per_s=round(statistics.median(row[0] for row in rows) / passed, 1),
        sent_packets_per_s=round(statistics.median(row[1] for row in rows) / passed, 2),
        cpu_percent=round(statistics.median(row[2] for row in rows) / passed * 100, 3),
        rss_mb=round(statistics.median(rss for rss, _ in memory), 1),
        pss_mb=round(statistics.median(pss for _, pss in memory), 1),
    )


def memory_mb(pid: int) -> tuple[float, float]:
    """RSS and PSS of a process."""
    sizes = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in ("Rss", "Pss"):
            sizes[name] = int(value.split()[0]) / 1024
    return sizes["Rss"], sizes["Pss"]
