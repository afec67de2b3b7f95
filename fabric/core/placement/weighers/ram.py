"""RAMWeigher: more free memory weighs more, so servers spread."""

from __future__ import annotations

from fabric.core.placement.host_table import HostView


def ram_weigher(view: HostView) -> int:
    return view.free.memory_mb
