"""One suite, both plugs: a bed makes a plug, and a second one that finds what the first left behind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from netplug.contract import HostPlan, Leftovers, NetPlug, PluggedPort
from netplug.fake import FakeNetPlug
from tests.fixtures.network_beds import Bed, network_bed, why_no_namespaces
from tests.fixtures.network_plans import EMPTY
from tests.fixtures.plug_process import PlugProcess

UPLINKS = {"phy0": "eth1"}


class CountedPlug(NetPlug, Protocol):
    async def writes(self) -> int: ...


class CountedFake:
    def __init__(self, directory: Path) -> None:
        self._plug = FakeNetPlug(directory, uplinks=UPLINKS)

    async def open(self) -> None:
        await self._plug.open()

    async def close(self) -> None:
        await self._plug.close()

    async def apply(self, plan: HostPlan) -> tuple[PluggedPort, ...]:
        return await self._plug.apply(plan)

    async def leftovers(self) -> Leftovers:
        return await self._plug.leftovers()

    async def writes(self) -> int:
        return self._plug.writes


class PlugBed(Protocol):
    def make(self) -> CountedPlug: ...


class FakeBed:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def make(self) -> CountedPlug:
        return CountedFake(self._folder)


class LinuxBed:
    def __init__(self, bed: Bed) -> None:
        self._bed = bed
        self._host = bed.namespace()
        self._host.ip("link add eth1 type veth peer name far1")

    def make(self) -> CountedPlug:
        plug: PlugProcess = self._bed.plug(self._host, uplinks=UPLINKS)
        return plug


@pytest.fixture(params=["fake", pytest.param("linux", marks=[pytest.mark.netns, pytest.mark.root])])
def plug_bed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PlugBed]:
    if request.param == "fake":
        yield FakeBed(tmp_path)
        return
    if why_not := why_no_namespaces():
        pytest.skip(why_not)
    with network_bed(tmp_path) as bed:
        yield LinuxBed(bed)


@pytest.fixture
async def plug(plug_bed: PlugBed) -> AsyncIterator[CountedPlug]:
    """Open, on an empty host; left empty."""
    plug = plug_bed.make()
    await plug.open()
    yield plug
    await plug.apply(EMPTY)
    await plug.close()
