"""How much of its host a guest may use: kept by the domain, and by those who carry it out."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import time
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from drivers.contract import ComputeDriver, CpuLimits, DiskLimit, DomainSpec, RootDisk
from drivers.sim import SimDriver
from fabric.dev.guest_image import GuestImage
from fabric.dev.hosts import SimulatedHosts
from proto.errors import DriverError
from proto.ids import ServerId
from tests.contract.drivers.beds import Bed, LibvirtBed, opened
from tests.fixtures.config_drives import config_drive
from tests.fixtures.simulated_hosts import HOST, simulated_set

DISKS = (
    DiskLimit(way="write", unit="iops", per_s=100, burst=200, burst_s=3),
    DiskLimit(way="total", unit="bytes", per_s=10_000_000),
)
KEPT = {
    "write_iops_sec": 100,
    "write_iops_sec_max": 200,
    "write_iops_sec_max_length": 3,
    "total_bytes_sec": 10_000_000,
}
CPU = CpuLimits(shares=512, period_us=100_000, quota_us=10_000)


async def test_disk_limits_are_kept_by_the_domain(bed: Bed, driver: ComputeDriver) -> None:
    spec = dataclasses.replace(bed.spec(), disk_limits=DISKS)
    await driver.ensure_running(spec)
    assert bed.disk_limits(spec.server_id) == KEPT
    async with opened(bed.driver()) as another_life:
        await another_life.ensure_running(spec)
    assert bed.disk_limits(spec.server_id) == KEPT
    await driver.ensure_stopped(spec.server_id, grace_ms=0)
    await driver.ensure_running(spec)
    assert bed.disk_limits(spec.server_id) == KEPT
    wider = dataclasses.replace(spec, disk_limits=(DiskLimit(way="read", unit="bytes", per_s=5_000),))
    await driver.reboot(wider, hard=True, grace_ms=0)
    assert bed.disk_limits(spec.server_id) == {"read_bytes_sec": 5_000}
    await driver.reboot(dataclasses.replace(spec, disk_limits=()), hard=True, grace_ms=0)
    assert bed.disk_limits(spec.server_id) == {}


async def test_a_host_that_cannot_limit_processors_says_so_and_runs_no_such_guest(
    tmp_path: Path, simulated_driver_without: Bed
) -> None:
    bed = simulated_driver_without
    async with opened(bed.driver()) as driver:
        assert not driver.capabilities().limits_cpu
        for limits in (CPU, CpuLimits(shares=512)):
            spec = dataclasses.replace(bed.spec(), cpu_limits=limits)
            with pytest.raises(DriverError, match="cannot limit processors"):
                await driver.ensure_running(spec)
            await driver.ensure_absent(spec.server_id)
            assert bed.traces(spec.server_id) == []


async def test_the_simulated_driver_keeps_limits_of_processors(tmp_path: Path) -> None:
    from tests.contract.drivers.beds import SimBed

    bed = SimBed(tmp_path)
    driver = SimDriver(bed.directory)
    async with opened(driver):
        assert driver.capabilities().limits_cpu
        spec = dataclasses.replace(bed.spec(), cpu_limits=CPU)
        await driver.ensure_running(spec)
        kept = {"cpu_shares": 512, "cpu_period_us": 100_000, "cpu_quota_us": 10_000}
        assert SimDriver(bed.directory).limits(spec.server_id) == kept


@pytest.fixture(params=["sim", pytest.param("libvirt", marks=[pytest.mark.root, pytest.mark.libvirt])])
def simulated_driver_without(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bed]:
    """A bed whose host has no means to limit processors: simulated hosts have no cgroups."""
    from tests.contract.drivers.beds import SimBed

    if request.param == "sim":
        made = SimBed(tmp_path)
        made.driver = lambda: SimDriver(made.directory, limits_cpu=False)  # type: ignore[method-assign]
        yield made
        return
    real = LibvirtBed(tmp_path, request.getfixturevalue("simulated_host"))
    try:
        yield real
    finally:
        real.close()


# -- with real guests, in a host that has cgroups

QEMU_CONF = """\
user = "root"
group = "root"
security_driver = "none"
dynamic_ownership = 0
remember_owner = 0
namespaces = []
cgroup_controllers = ["cpu"]
stdio_handler = "file"
"""
MOUNT_CGROUPS = """\
mount -t tmpfs none /sys/fs/cgroup
mkdir /sys/fs/cgroup/cpu /sys/fs/cgroup/systemd
mount -t cgroup -o cpu none /sys/fs/cgroup/cpu
mount -t cgroup -o none,name=systemd none /sys/fs/cgroup/systemd
"""
CPU_CGROUPS = Path("/sys/fs/cgroup/cpu")
QUOTA_SHARE = CPU.quota_us / CPU.period_us
WINDOW_S, WINDOWS = 1.0, 4
BUSY = b"#!/bin/sh\nwhile :; do :; done\n"
WRITES, WRITES_S = 120, 30  # and how many a second
BOOT_S = 240.0
# Reads nothing from a cache and writes to none: each write is one for the disk, whose limit counts it.
WRITER = f"""#!/bin/sh
(
  read began rest </proc/uptime
  dd if=/dev/zero of=/dev/vdb bs=4096 count={WRITES} oflag=direct
  read ended rest </proc/uptime
  echo "wrote $began $ended"
) </dev/null >/dev/console 2>&1
""".encode()


@pytest.fixture(scope="module")
def host_with_cgroups() -> Iterator[SimulatedHosts]:
    """cgroup v1's cpu controller, which a container or a machine with v2 alone cannot mount."""
    if not (CPU_CGROUPS / "cpu.cfs_quota_us").exists():
        pytest.skip("this machine has no cgroup v1 with the cpu controller to give a simulated host")
    for hosts in simulated_set(HOST):
        (hosts.directory / HOST / "etc-libvirt/qemu.conf").write_text(QEMU_CONF)
        mounted = hosts.run_in(HOST, ["sh", "-ec", MOUNT_CGROUPS], check=False)
        if mounted.returncode != 0:
            pytest.skip(f"a simulated host cannot mount cgroups here: {mounted.stderr.strip()}")
        hosts.kill_libvirtd(HOST)
        hosts.start_libvirtd(HOST)
        yield hosts
        with contextlib.suppress(OSError):
            (CPU_CGROUPS / "machine").rmdir()


@pytest.fixture
def limiting_bed(tmp_path: Path, host_with_cgroups: SimulatedHosts) -> Iterator[LibvirtBed]:
    made = LibvirtBed(tmp_path, host_with_cgroups)
    try:
        yield made
    finally:
        made.close()


def booting(bed: LibvirtBed, image: GuestImage, script: bytes) -> DomainSpec:
    spec = bed.spec()
    return dataclasses.replace(
        spec,
        memory_mb=192,
        root=RootDisk(base_path=str(image.disk), base_format="qcow2", size_gb=1),
        config_drive=config_drive(spec.server_id, script),
        kernel_path=str(image.kernel),
        ramdisk_path=str(image.ramdisk),
        kernel_args=image.cmdline,
        swap_mb=8,
    )


def vcpu_seconds(pid: int) -> float:
    """Of processor time that the guest's own thread has had."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        name, _, rest = (task / "stat").read_text().rpartition(")")
        if "CPU 0" in name:
            total += sum(int(word) for word in rest.split()[11:13])
    return total / os.sysconf("SC_CLK_TCK")


def cgroup_of(pid: int) -> Path:
    """Of that thread: libvirt has one for each vCPU."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        if "CPU 0" in (task / "stat").read_text():
            lines = (task / "cgroup").read_text().splitlines()
            (where,) = [line.split(":", 2)[2] for line in lines if line.split(":")[1] == "cpu"]
            return CPU_CGROUPS / where.lstrip("/")
    raise AssertionError("no thread of a vCPU")


@pytest.mark.root
@pytest.mark.libvirt
@pytest.mark.timeout(600)
async def test_a_real_guest_has_no_more_of_its_processor_than_its_quota(
    limiting_bed: LibvirtBed, guest_image: GuestImage
) -> None:
    async with opened(limiting_bed.driver()) as driver:
        assert driver.capabilities().limits_cpu
        free = booting(limiting_bed, guest_image, BUSY)
        limited = dataclasses.replace(booting(limiting_bed, guest_image, BUSY), cpu_limits=CPU)
        pid = (await driver.ensure_running(limited)).pid
        assert pid is not None
        shares = [await share_of_a_processor(pid) for _ in range(WINDOWS)]
        said = (cgroup_of(pid) / "cpu.stat").read_text().splitlines()
        assert int(dict(line.split() for line in said)["nr_throttled"]) > 0, "it wanted more"
        tune = cputune(limiting_bed, limited.server_id)
        await driver.ensure_absent(limited.server_id)
        # Of a window's edges a slice of the quota may be on either side.
        assert sum(shares) / WINDOWS < 1.3 * QUOTA_SHARE
        assert tune == {"shares": "512", "period": "100000", "quota": "10000"}
        pid = (await driver.ensure_running(free)).pid
        assert pid is not None
        async with asyncio.timeout(BOOT_S):  # soon, unless the machine has no processor to spare
            while await share_of_a_processor(pid) < 2 * QUOTA_SHARE:
                pass
        await driver.ensure_absent(free.server_id)


async def share_of_a_processor(pid: int) -> float:
    """That the guest's own thread has had in a while from now."""
    had, began = vcpu_seconds(pid), time.monotonic()
    await asyncio.sleep(WINDOW_S)
    return (vcpu_seconds(pid) - had) / (time.monotonic() - began)


def cputune(bed: LibvirtBed, server_id: ServerId) -> dict[str, str]:
    text = bed.hosts.run_in(HOST, ["virsh", "dumpxml", f"fabric-{server_id}"]).stdout
    tune = ElementTree.fromstring(text).find("cputune")
    return {} if tune is None else {each.tag: each.text or "" for each in tune}


async def writing_s(bed: LibvirtBed, driver: ComputeDriver, spec: DomainSpec) -> float:
    """How long the guest's writes took, by its own clock."""
    await driver.ensure_running(spec)
    try:
        async with asyncio.timeout(BOOT_S):
            while not (said := await _said(driver, spec.server_id)):
                await asyncio.sleep(0.2)
    finally:
        await driver.ensure_absent(spec.server_id)
    return said[1] - said[0]


async def _said(driver: ComputeDriver, server_id: ServerId) -> list[float]:
    console = (await driver.console_log(server_id, bytes_max=1 << 20)).decode(errors="replace")
    lines = [line.split() for line in console.splitlines() if line.startswith("wrote ")]
    return [float(word) for word in lines[-1][1:]] if lines and len(lines[-1]) == 3 else []


@pytest.mark.root
@pytest.mark.libvirt
@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_real_guest_writes_no_faster_than_its_limit(
    libvirt_bed: LibvirtBed, guest_image: GuestImage
) -> None:
    async with opened(libvirt_bed.driver()) as driver:
        free = booting(libvirt_bed, guest_image, WRITER)
        limited = dataclasses.replace(
            booting(libvirt_bed, guest_image, WRITER),
            disk_limits=(DiskLimit(way="write", unit="iops", per_s=WRITES_S),),
        )
        slow = await writing_s(libvirt_bed, driver, limited)
        quick = await writing_s(libvirt_bed, driver, free)
    least_s = WRITES / WRITES_S
    assert slow > 0.8 * least_s  # QEMU lets a tenth of a second's go at first
    assert quick * 2 < slow
