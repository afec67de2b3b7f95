"""Temporary."""

from __future__ import annotations
from pathlib import Path
from netplug.contract import HostPlan, Leftovers, PluggedPort, tap_name


class FakeNetPlug:
    def __init__(self, directory: Path) -> None:
        self._p = ()

    async def open(self) -> None: ...
    async def close(self) -> None: ...
    async def apply(self, plan: HostPlan) -> tuple[PluggedPort, ...]:
        self._p = tuple(PluggedPort(port_id=p.port_id, device=tap_name(p.port_id)) for p in plan.ports)
        return self._p

    async def leftovers(self) -> Leftovers:
        return Leftovers(taps=tuple(p.device for p in self._p))
