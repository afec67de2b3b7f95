"""A host with a Linux plug, and guests on it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from netplug.contract import HostPlan, Leftovers, PortPlan, tap_name
from tests.fixtures.network_beds import Bed, Guest, Namespace, network_bed, why_no_namespaces
from tests.fixtures.network_plans import EMPTY
from tests.fixtures.plug_process import PlugProcess

SETTLE_S, SETTLE_POLL_S = 10, 0.05


class Host:
    """One host's namespace and plug, and the guests wired to it."""

    def __init__(self, bed: Bed, space: Namespace, plug: PlugProcess) -> None:
        self.bed = bed
        self.space = space
        self.plug = plug
        self.folder = bed.folder
        self._guests: list[Guest] = []

    def guest(self, port: PortPlan) -> Guest:
        guest = self.bed.guest(self.space, port)
        self._guests.append(guest)
        return guest

    async def apply(self, plan: HostPlan) -> None:
        """Returns when the bridges forward: the kernel looks at new carriers once a second only."""
        await self.plug.apply(plan)
        wired = {tap_name(port.port_id) for port in plan.ports}
        wired &= {tap_name(guest.port.port_id) for guest in self._guests}
        async with asyncio.timeout(SETTLE_S):
            while not wired <= self._forwarding():
                await asyncio.sleep(SETTLE_POLL_S)

    def _forwarding(self) -> set[str]:
        lines = self.space.ok("bridge", "-o", "link").splitlines()
        return {re.split("[:@]", line)[1].strip() for line in lines if "state forwarding" in line}


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    if why_not := why_no_namespaces():
        pytest.skip(why_not)
    with network_bed(tmp_path) as bed:
        yield bed


@pytest.fixture
async def machine(bed: Bed) -> AsyncIterator[Host]:
    space = bed.namespace()
    host = Host(bed, space, bed.plug(space))
    await host.plug.open()
    yield host
    await host.plug.apply(EMPTY)
    assert await host.plug.leftovers() == Leftovers()
    assert "tap" not in space.ip("-o link")
    await host.plug.kill()


@pytest.fixture
async def pair(bed: Bed) -> AsyncIterator[tuple[Host, Host]]:
    """Two hosts whose eth1 share a wire, as physical network phy0."""
    spaces = (bed.namespace(), bed.namespace())
    bed.wire(spaces[0], "eth1", spaces[1], "eth1")
    uplinks = {"phy0": "eth1"}
    hosts = [Host(bed, space, bed.plug(space, f"plug{index}", uplinks)) for index, space in enumerate(spaces)]
    for host in hosts:
        await host.plug.open()
    yield hosts[0], hosts[1]
    for host in hosts:
        await host.plug.apply(EMPTY)
        assert await host.plug.leftovers() == Leftovers()
        assert "master" not in host.space.ip("-o link show eth1")
        await host.plug.kill()
