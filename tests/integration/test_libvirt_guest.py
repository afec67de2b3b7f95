"""A real guest under the libvirt driver: boots, reads its config drive, obeys the power button."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from drivers.contract import ComputeDriver, DomainSpec, Nic, Power, RootDisk
from fabric.dev.guest_image import GuestImage
from fabric.dev.hosts import SimulatedHosts
from proto.ids import ServerId, new_uuid
from tests.contract.drivers.beds import opened
from tests.fixtures.config_drives import config_drive
from tests.fixtures.simulated_hosts import HOST

pytestmark = [pytest.mark.root, pytest.mark.libvirt, pytest.mark.slow]
BOOT_TIMEOUT_S = 120.0
USER_DATA = b"#!/bin/sh\necho user data says hello from $(hostname)\n"


@pytest.fixture
def tap(simulated_host: SimulatedHosts) -> str:
    name = f"tap{new_uuid()[:11]}"
    simulated_host.run_in(HOST, ["ip", "tuntap", "add", "dev", name, "mode", "tap"])
    simulated_host.run_in(HOST, ["ip", "link", "set", name, "up"])
    return name


@pytest.fixture
def spec(guest_image: GuestImage, tap: str) -> DomainSpec:
    server_id = ServerId(new_uuid())
    return DomainSpec(
        server_id=server_id,
        name="web-1",
        project_id="0123456789abcdef0123456789abcdef",
        vcpus=1,
        memory_mb=192,
        root=RootDisk(base_path=str(guest_image.disk), base_format="qcow2", size_gb=1),
        nics=(Nic(device=tap, mac="fa:16:3e:00:00:01", mtu=1450),),
        config_drive=config_drive(server_id, USER_DATA),
        kernel_path=str(guest_image.kernel),
        ramdisk_path=str(guest_image.ramdisk),
        kernel_args=guest_image.cmdline,
    )


@pytest.fixture
async def driver(
    simulated_host: SimulatedHosts, tmp_path: Path, tap: str, spec: DomainSpec
) -> AsyncIterator[ComputeDriver]:
    from drivers.libvirt.driver import LibvirtDriver

    async with opened(LibvirtDriver(simulated_host.libvirt_uri(HOST), tmp_path / "servers")) as made:
        try:
            yield made
        finally:
            await made.ensure_absent(spec.server_id)
            simulated_host.run_in(HOST, ["ip", "link", "del", tap])


async def console_has(driver: ComputeDriver, server_id: ServerId, wanted: str, times: int = 1) -> str:
    """Waits until the console shows `wanted`; returns all of it."""
    deadline = time.monotonic() + BOOT_TIMEOUT_S
    while True:
        text = (await driver.console_log(server_id, bytes_max=1 << 20)).decode(errors="replace")
        if text.count(wanted) >= times:
            return text
        assert time.monotonic() < deadline, f"no {wanted!r} on the console:\n{text[-3000:]}"
        await asyncio.sleep(0.1)


async def test_a_guest_boots_reads_its_drive_and_obeys(driver: ComputeDriver, spec: DomainSpec) -> None:
    first = await driver.ensure_running(spec)
    text = await console_has(driver, spec.server_id, "guest: metadata drive web-1")
    assert "guest: hostname web-1" in text
    assert "guest: keys 1" in text
    assert "user data says hello from web-1" in text
    assert "guest: user-data executed status=0" in text
    assert "guest: agent" in text

    second = await driver.reboot(spec, hard=False, grace_ms=60_000)
    assert second.pid != first.pid
    text = await console_has(driver, spec.server_id, "guest: metadata drive web-1", times=2)
    assert text.count("guest: user-data executed") == 1  # once per instance: the disk stayed

    began = time.monotonic()
    stopped = await driver.ensure_stopped(spec.server_id, grace_ms=120_000)
    assert stopped.power is Power.SHUTDOWN
    assert time.monotonic() - began < 100  # by its own doing, not by force at the end of the grace


async def test_the_disk_boots_by_itself_through_grub(driver: ComputeDriver, spec: DomainSpec) -> None:
    """As an image from anywhere would: no kernel from outside."""
    import dataclasses

    whole = dataclasses.replace(spec, kernel_path=None, ramdisk_path=None, kernel_args="")
    await driver.ensure_running(whole)
    text = await console_has(driver, spec.server_id, "guest: metadata drive web-1")
    assert "guest: booted" in text
