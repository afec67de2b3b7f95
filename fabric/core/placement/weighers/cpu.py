"""CPUWeigher: more free vCPUs weigh more, so servers spread."""

from __future__ import annotations

from fabric.core.placement.host_table import HostView


def cpu_weigher(view: HostView) -> int:
    return view.free.vcpus
