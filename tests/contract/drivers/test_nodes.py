"""NUMA nodes and devices of guests: what the driver is asked for is what the guest is given."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from drivers.contract import ComputeDriver, DomainSpec, GuestNode, PciDevice, Power
from drivers.libvirt.domain_xml import DomainFiles, HostTraits, domain_xml
from drivers.libvirt.host_cells import MEMINFO, memory_kb
from drivers.libvirt.host_cpus import online_cpus
from drivers.libvirt.pci_devices import pci_devices
from drivers.sim import SimDriver
from fabric.dev.guest_image import GuestImage
from proto.errors import DriverError
from tests.contract.drivers.beds import Bed, LibvirtBed, SimBed, opened
from tests.fixtures.simulated_hosts import HOST

FIRST = min(online_cpus())
NODES = (
    GuestNode(vcpus=(0,), memory_mb=64, cell_id=0, cpu_set=(FIRST,)),
    GuestNode(vcpus=(1,), memory_mb=128, cell_id=0),
)


def with_nodes(spec: DomainSpec, **changes: Any) -> DomainSpec:
    return dataclasses.replace(spec, memory_mb=192, nodes=NODES, **changes)


async def test_a_guest_with_nodes_runs_and_is_started_anew(bed: Bed, driver: ComputeDriver) -> None:
    spec = with_nodes(bed.spec(vcpus=2))
    assert (await driver.ensure_running(spec)).power is Power.RUNNING
    other = dataclasses.replace(spec, nodes=(dataclasses.replace(NODES[0], vcpus=(0, 1), memory_mb=192),))
    assert (await driver.reboot(other, hard=True, grace_ms=0)).power is Power.RUNNING
    await driver.ensure_absent(spec.server_id)
    assert bed.traces(spec.server_id) == []


@pytest.mark.root
@pytest.mark.libvirt
async def test_the_machines_own_cells_are_told(libvirt_bed: LibvirtBed) -> None:
    async with opened(libvirt_bed.driver()) as driver:
        offers = driver.capabilities()
    assert sorted(cpu for cell in offers.cells for cpu in cell.cpus) == sorted(online_cpus())
    for cell in offers.cells:
        assert sorted(cpu for core in cell.cores for cpu in core) == list(cell.cpus)
    if len(offers.cells) == 1:
        huge_kb = sum(size * count for size, count in offers.cells[0].pages.items())
        assert offers.cells[0].memory_mb == ((memory_kb(MEMINFO) or 0) - huge_kb) >> 10
    assert offers.devices == pci_devices()


@pytest.mark.root
@pytest.mark.libvirt
@pytest.mark.slow
async def test_a_real_guest_sees_its_nodes_and_qemu_is_bound(
    libvirt_bed: LibvirtBed, guest_image: GuestImage
) -> None:
    spec = with_nodes(
        libvirt_bed.spec(vcpus=2),
        kernel_path=str(guest_image.kernel),
        ramdisk_path=str(guest_image.ramdisk),
        kernel_args=f"{guest_image.cmdline} ignore_loglevel",
    )
    async with opened(libvirt_bed.driver()) as driver:
        pid = (await driver.ensure_running(spec)).pid
        assert pid is not None
        argv = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        given = [argument for argument in argv if "memory-backend" in argument]
        memory = [json.loads(each) for each in given]
        assert [(each["size"] >> 20, each["host-nodes"], each["policy"]) for each in memory] == [
            (64, [0], "bind"),
            (128, [0], "bind"),
        ]
        numa = [argv[at + 1] for at, argument in enumerate(argv) if argument == "-numa"]
        assert [each.split(",memdev")[0] for each in numa] == [
            "node,nodeid=0,cpus=0",
            "node,nodeid=1,cpus=1",
        ]
        console = await said(driver, spec, "Run /init")
        assert "SRAT: PXM 1 -> APIC 0x01 -> Node 1" in console
        assert "Initmem setup node 1" in console
        await driver.ensure_absent(spec.server_id)


async def said(driver: ComputeDriver, spec: DomainSpec, words: str) -> str:
    """What the guest has written when it has said that."""
    import asyncio

    async with asyncio.timeout(300):
        while words not in (text := (await driver.console_log(spec.server_id, bytes_max=1 << 20)).decode()):
            await asyncio.sleep(0.2)
    return text


@pytest.mark.root
@pytest.mark.libvirt
async def test_more_memory_than_the_cell_has_is_refused_at_the_start(libvirt_bed: LibvirtBed) -> None:
    nodes = (GuestNode(vcpus=(0,), memory_mb=64, cell_id=63),)
    spec = dataclasses.replace(libvirt_bed.spec(), nodes=nodes)
    async with opened(libvirt_bed.driver()) as driver:
        with pytest.raises(DriverError, match=f"domain fabric-{spec.server_id}"):
            await driver.ensure_running(spec)


@pytest.mark.root
@pytest.mark.libvirt
async def test_libvirts_own_schema_takes_devices_and_huge_pages(
    libvirt_bed: LibvirtBed, tmp_path: Path
) -> None:
    """Defined and not started: this machine has no IOMMU, and no huge pages."""
    device = pci_devices()[-1]
    nodes = tuple(dataclasses.replace(node, page_kb=2_048) for node in NODES)
    spec = with_nodes(libvirt_bed.spec(vcpus=2), devices=(device.address,))
    spec = dataclasses.replace(spec, nodes=nodes)
    files = DomainFiles(owner="/none", root="/none/root.qcow2", console_log="/none/console.log")
    file = tmp_path / "domain.xml"
    file.write_text(domain_xml(spec, files, HostTraits(accelerated=False)))
    libvirt_bed.hosts.run_in(HOST, ["virsh", "define", "--validate", str(file)])
    text = libvirt_bed.hosts.run_in(HOST, ["virsh", "dumpxml", f"fabric-{spec.server_id}"]).stdout
    domain = ElementTree.fromstring(text)
    source = domain.find("./devices/hostdev/source/address")
    assert source is not None
    domain_, bus, rest = device.address.split(":")
    slot, function = rest.split(".")
    assert source.attrib == {
        "domain": f"0x{domain_}", "bus": f"0x{bus}", "slot": f"0x{slot}", "function": f"0x{function}",
    }  # fmt: skip
    (hostdev,) = domain.iterfind("./devices/hostdev")
    assert hostdev.get("managed") == "yes"
    (page,) = domain.iterfind("./memoryBacking/hugepages/page")
    assert (page.get("size"), page.get("nodeset")) == ("2048", "0-1")


async def test_a_simulated_device_is_one_guests_at_a_time(tmp_path: Path) -> None:
    bed = SimBed(tmp_path)
    device = PciDevice(address="0000:81:00.0", vendor_id="10de", product_id="1db4")
    one, two = (dataclasses.replace(bed.spec(), devices=(device.address,)) for _ in range(2))
    async with opened(
        SimDriver(bed.directory, cells=2, vcpus=5, memory_mb=1_025, devices=(device,))
    ) as driver:
        cells = driver.capabilities().cells
        assert [(cell.cpus, cell.memory_mb, cell.distances[0]) for cell in cells] == [
            ((0, 1), 512, 10),
            ((2, 3, 4), 513, 20),
        ]
        await driver.ensure_running(one)
        with pytest.raises(DriverError, match=f"0000:81:00.0 is in use by {one.server_id}"):
            await driver.ensure_running(two)
        await driver.ensure_stopped(one.server_id, grace_ms=0)
        await driver.ensure_running(two)
    async with opened(bed.driver()) as driver:
        with pytest.raises(DriverError, match=r"there is no PCI device 0000:81:00\.0"):
            await driver.ensure_running(one)
