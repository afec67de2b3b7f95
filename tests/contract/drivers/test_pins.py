"""Processors that a guest has for itself: kept as asked for, known to whoever opens the driver next."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from drivers.contract import ComputeDriver, Pins
from drivers.libvirt.host_cpus import online_cpus
from tests.contract.drivers.beds import Bed, LibvirtBed, opened

FIRST, *OTHERS = sorted(online_cpus())
LAST = OTHERS[-1] if OTHERS else FIRST


async def test_pins_are_kept_by_the_domain(bed: Bed, driver: ComputeDriver) -> None:
    pins = Pins(vcpus=(LAST,), emulator=(FIRST,))
    pinned = dataclasses.replace(bed.spec(), pins=pins)
    plain = dataclasses.replace(bed.spec(), cpu_set=(FIRST,))
    await driver.ensure_running(pinned)
    await driver.ensure_running(plain)
    assert await driver.pinned() == {pinned.server_id: pins}
    await driver.ensure_stopped(pinned.server_id, grace_ms=0)
    async with opened(bed.driver()) as another_life:
        assert await another_life.pinned() == {pinned.server_id: pins}
    moved = Pins(vcpus=(FIRST,), emulator=(FIRST,))
    await driver.reboot(dataclasses.replace(pinned, pins=moved), hard=True, grace_ms=0)
    assert await driver.pinned() == {pinned.server_id: moved}
    await driver.ensure_absent(pinned.server_id)
    assert await driver.pinned() == {}


async def test_some_of_its_processors_may_be_shared(bed: Bed, driver: ComputeDriver) -> None:
    pins = Pins(vcpus=(LAST,), of=(1,), emulator=tuple(sorted({FIRST, LAST})))
    mixed = dataclasses.replace(bed.spec(vcpus=2), pins=pins, cpu_set=tuple(sorted({FIRST, LAST})))
    await driver.ensure_running(mixed)
    if FIRST != LAST:
        assert await driver.pinned() == {mixed.server_id: pins}


def allowed(pid: int) -> dict[str, set[str]]:
    """By the name of the guest's threads, where each may run."""
    found: dict[str, set[str]] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        said = dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines())
        found.setdefault(said["Name"], set()).add(said["Cpus_allowed_list"])
    return found


@pytest.mark.root
@pytest.mark.libvirt
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two processors")
async def test_the_kernel_holds_real_threads_to_them(libvirt_bed: LibvirtBed) -> None:
    """Emulation has a thread for each vCPU, too."""
    pinned = dataclasses.replace(libvirt_bed.spec(), pins=Pins(vcpus=(LAST,), emulator=(FIRST,)))
    plain = dataclasses.replace(libvirt_bed.spec(), cpu_set=(FIRST,))
    async with opened(libvirt_bed.driver()) as driver:
        pins, floats = [(await driver.ensure_running(spec)).pid for spec in (pinned, plain)]
        assert pins is not None
        assert floats is not None
        threads = allowed(pins)
        vcpus = {where for name, each in threads.items() if name.startswith("CPU 0") for where in each}
        others = {where for name, each in threads.items() if not name.startswith("CPU ") for where in each}
        assert (vcpus, others) == ({str(LAST)}, {str(FIRST)}), threads
        assert {where for each in allowed(floats).values() for where in each} == {str(FIRST)}
