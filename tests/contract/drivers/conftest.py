"""Each contract test runs on every driver."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from drivers.contract import ComputeDriver
from fabric.dev.hosts import SimulatedHosts
from tests.contract.drivers.beds import Bed, LibvirtBed, SimBed, opened
from tests.contract.drivers.migration_beds import NAMES, LibvirtPair, PairBed, SimPair
from tests.fixtures.simulated_hosts import simulated_set

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


@pytest.fixture(scope="module")
def libvirt_pair_hosts() -> Iterator[SimulatedHosts]:
    yield from simulated_set(*NAMES)


@pytest.fixture(params=["sim", pytest.param("libvirt", marks=[*LIBVIRT.marks, pytest.mark.slow])])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PairBed]:
    if request.param == "sim":
        yield SimPair(tmp_path)
        return
    hosts: SimulatedHosts = request.getfixturevalue("libvirt_pair_hosts")
    made = LibvirtPair(tmp_path, hosts, request.getfixturevalue("guest_image"))
    try:
        yield made
    finally:
        made.close()
