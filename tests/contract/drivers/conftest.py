"""Each contract test runs on every driver."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from drivers.contract import ComputeDriver
from fabric.dev.hosts import SimulatedHosts
from tests.contract.drivers.beds import Bed, LibvirtBed, SimBed, opened

LIBVIRT = pytest.param("libvirt", marks=[pytest.mark.root, pytest.mark.libvirt])


@pytest.fixture(params=["sim", LIBVIRT])
def bed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bed]:
    if request.param == "sim":
        yield SimBed(tmp_path)
        return
    hosts: SimulatedHosts = request.getfixturevalue("simulated_host")
    made = LibvirtBed(tmp_path, hosts)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def libvirt_bed(tmp_path: Path, simulated_host: SimulatedHosts) -> Iterator[LibvirtBed]:
    made = LibvirtBed(tmp_path, simulated_host)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
async def driver(bed: Bed) -> AsyncIterator[ComputeDriver]:
    async with opened(bed.driver()) as made:
        yield made
