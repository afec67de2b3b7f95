"""What only a real hypervisor can show: lost daemons, power failures, neighbours, foreign domains."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from drivers.contract import DomainState, Nic, Power
from proto.errors import DriverError
from proto.ids import ServerId
from tests.contract.drivers.beds import LibvirtBed, opened, virtual_bytes
from tests.fixtures.simulated_hosts import HOST, simulated_set

pytestmark = [pytest.mark.root, pytest.mark.libvirt]


@pytest.fixture
def own_host(tmp_path: Path) -> Iterator[LibvirtBed]:
    """A host nobody else uses: for tests that break it."""
    for hosts in simulated_set(HOST):
        yield LibvirtBed(tmp_path, hosts)


def domain_of(bed: LibvirtBed, server_id: ServerId) -> ElementTree.Element:
    text = bed.hosts.run_in(HOST, ["virsh", "dumpxml", f"fabric-{server_id}"]).stdout
    return ElementTree.fromstring(text)


async def test_a_restarted_libvirtd_is_found_again(own_host: LibvirtBed) -> None:
    spec = own_host.spec()
    async with opened(own_host.driver()) as driver:
        first = await driver.ensure_running(spec)
        own_host.hosts.kill_libvirtd(HOST)
        with pytest.raises(DriverError):
            await driver.list_domains()
        assert first.pid is not None
        assert own_host.process_exists(first.pid)
        own_host.hosts.start_libvirtd(HOST)
        assert await driver.list_domains() == (first,)
        assert await driver.ensure_running(spec) == first
        await driver.ensure_absent(spec.server_id)
    assert own_host.traces(spec.server_id) == []


async def test_after_a_power_failure_guests_start_from_their_disks(own_host: LibvirtBed) -> None:
    spec = own_host.spec()
    async with opened(own_host.driver()) as driver:
        await driver.ensure_running(spec)
    inode = own_host.root_disk(spec.server_id).stat().st_ino
    own_host.hosts.power_off(HOST)
    own_host.hosts.start(HOST)
    tap = own_host.make_tap()
    again = dataclasses.replace(spec, nics=(dataclasses.replace(spec.nics[0], device=tap),))
    async with opened(own_host.driver()) as driver:
        off = DomainState(server_id=spec.server_id, power=Power.SHUTDOWN, pid=None)
        assert await driver.list_domains() == (off,)
        assert (await driver.ensure_running(again)).power is Power.RUNNING
    assert own_host.root_disk(spec.server_id).stat().st_ino == inode


async def test_a_driver_that_cannot_connect_says_so(tmp_path: Path) -> None:
    from drivers.libvirt.driver import LibvirtDriver

    driver = LibvirtDriver(f"qemu+unix:///system?socket={tmp_path}/none", tmp_path / "servers")
    with pytest.raises(DriverError, match="libvirt"):
        await driver.open()
    await driver.close()


async def test_kvm_demanded_where_it_does_not_work_is_an_error(libvirt_bed: LibvirtBed) -> None:
    from drivers.libvirt.driver import LibvirtDriver
    from drivers.libvirt.kvm import probe_kvm

    verdict = await probe_kvm()
    if verdict.works:
        pytest.skip("KVM works here")
    driver = LibvirtDriver(libvirt_bed.uri, libvirt_bed.directory, force_emulation=False)
    with pytest.raises(DriverError, match="KVM was asked for"):
        await driver.open()
    await driver.close()


async def test_left_to_itself_the_driver_chooses_what_the_probe_found(libvirt_bed: LibvirtBed) -> None:
    from drivers.libvirt.driver import LibvirtDriver
    from drivers.libvirt.kvm import probe_kvm

    verdict = await probe_kvm()
    async with opened(LibvirtDriver(libvirt_bed.uri, libvirt_bed.directory)) as driver:
        told = driver.capabilities()
        assert told.hypervisor_type == ("KVM" if verdict.works else "QEMU")
        assert told.why.startswith(verdict.why[:20])
        meminfo = Path("/proc/meminfo").read_text()
        assert told.memory_mb == int(meminfo.split("MemTotal:")[1].split()[0]) // 1024


async def test_two_drivers_on_one_libvirtd_see_their_own_domains_only(libvirt_bed: LibvirtBed) -> None:
    from drivers.libvirt.driver import LibvirtDriver

    spec = libvirt_bed.spec()
    neighbour = LibvirtDriver(
        libvirt_bed.uri, libvirt_bed.directory.with_name("neighbour"), force_emulation=True
    )
    async with opened(libvirt_bed.driver()) as driver, opened(neighbour):
        await driver.ensure_running(spec)
        assert await neighbour.list_domains() == ()
        assert len(await driver.list_domains()) == 1


async def test_domains_that_are_not_ours_are_not_touched(libvirt_bed: LibvirtBed, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.xml"
    foreign.write_text(
        "<domain type='qemu'><name>fabric-of-somebody-else</name><memory unit='MiB'>16</memory>"
        "<os><type arch='x86_64'>hvm</type></os></domain>"
    )
    libvirt_bed.hosts.run_in(HOST, ["virsh", "define", str(foreign)])
    async with opened(libvirt_bed.driver()) as driver:
        assert await driver.list_domains() == ()
    assert "somebody-else" in libvirt_bed.hosts.run_in(HOST, ["virsh", "list", "--all", "--name"]).stdout


async def test_a_domain_without_files_is_listed_and_can_be_removed(libvirt_bed: LibvirtBed) -> None:
    spec = libvirt_bed.spec()
    async with opened(libvirt_bed.driver()) as driver:
        running = await driver.ensure_running(spec)
        shutil.rmtree(libvirt_bed.directory / spec.server_id)
        assert await driver.list_domains() == (running,)
        await driver.ensure_absent(spec.server_id)
    assert libvirt_bed.traces(spec.server_id) == []


async def test_the_tap_is_not_the_drivers_to_delete(libvirt_bed: LibvirtBed) -> None:
    spec = libvirt_bed.spec()
    async with opened(libvirt_bed.driver()) as driver:
        await driver.ensure_running(spec)
        await driver.ensure_absent(spec.server_id)
    assert libvirt_bed.tap_exists(spec.nics[0].device)


async def test_a_missing_tap_is_an_error_that_can_be_mended(libvirt_bed: LibvirtBed) -> None:
    spec = libvirt_bed.spec()
    astray = dataclasses.replace(spec, nics=(Nic(device="no-such-tap", mac="fa:16:3e:00:00:09", mtu=1500),))
    async with opened(libvirt_bed.driver()) as driver:
        with pytest.raises(DriverError, match="no-such-tap"):
            await driver.ensure_running(astray)
        (state,) = await driver.list_domains()
        assert state.power is Power.SHUTDOWN
        assert (await driver.ensure_running(spec)).power is Power.RUNNING


async def test_an_overlay_is_as_large_as_asked_and_reads_its_base(libvirt_bed: LibvirtBed) -> None:
    spec = libvirt_bed.spec()
    as_base = dataclasses.replace(libvirt_bed.spec(), root=dataclasses.replace(spec.root, size_gb=0))
    async with opened(libvirt_bed.driver()) as driver:
        await driver.ensure_running(spec)
        await driver.ensure_running(as_base)
    assert virtual_bytes(libvirt_bed.root_disk(spec.server_id)) == 1 << 30
    assert virtual_bytes(libvirt_bed.root_disk(as_base.server_id)) == 8 << 20


async def test_a_hard_reboot_takes_the_new_description(libvirt_bed: LibvirtBed) -> None:
    spec = libvirt_bed.spec()
    async with opened(libvirt_bed.driver()) as driver:
        await driver.ensure_running(spec)
        await driver.reboot(dataclasses.replace(spec, memory_mb=80), hard=True, grace_ms=0)
    memory = domain_of(libvirt_bed, spec.server_id).findtext("memory")
    assert memory == str(80 * 1024)


async def test_a_paused_guest_runs_on_and_can_be_stopped(libvirt_bed: LibvirtBed) -> None:
    spec = libvirt_bed.spec()
    name = f"fabric-{spec.server_id}"
    async with opened(libvirt_bed.driver()) as driver:
        first = await driver.ensure_running(spec)
        libvirt_bed.hosts.run_in(HOST, ["virsh", "suspend", name])
        (state,) = await driver.list_domains()
        assert (state.power, state.pid) == (Power.PAUSED, first.pid)
        assert await driver.ensure_running(spec) == first
        libvirt_bed.hosts.run_in(HOST, ["virsh", "suspend", name])
        assert (await driver.ensure_stopped(spec.server_id, grace_ms=60_000)).power is Power.SHUTDOWN


async def test_ephemeral_and_swap_disks(libvirt_bed: LibvirtBed) -> None:
    spec = dataclasses.replace(libvirt_bed.spec(config_drive=None), ephemeral_gb=1, swap_mb=16)
    folder = libvirt_bed.directory / spec.server_id
    async with opened(libvirt_bed.driver()) as driver:
        await driver.ensure_running(spec)
        assert (folder / "ephemeral0.raw").stat().st_size == 1 << 30
        assert (folder / "swap.raw").stat().st_size == 16 << 20
        assert b"SWAPSPACE2" in (folder / "swap.raw").read_bytes()[:8192]
        domain = domain_of(libvirt_bed, spec.server_id)
        assert [target.get("dev") for target in domain.iterfind("devices/disk/target")] == [
            "vda",
            "vdb",
            "vdc",
        ]
        await driver.ensure_absent(spec.server_id)
    assert libvirt_bed.traces(spec.server_id) == []
