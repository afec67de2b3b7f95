"""Domain XML against golden files. After a meant change: FABRIC_REWRITE_GOLDEN=1, then read the diff."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from xml.etree import ElementTree

import pytest

from drivers.contract import CpuLimits, DiskLimit, DomainSpec, GuestNode, Nic, Pins, RootDisk
from drivers.libvirt.domain_xml import (
    DomainFiles,
    HostTraits,
    domain_name,
    domain_xml,
    owner_of,
    pins_of,
    server_of,
)
from proto.errors import DriverError
from proto.ids import ServerId

GOLDEN = Path(__file__).parents[2] / "golden" / "drivers"
ID = ServerId("11111111-2222-4333-8444-555555555555")
TCG, KVM = HostTraits(accelerated=False), HostTraits(accelerated=True)
ABLE = HostTraits(accelerated=False, limits_cpu=True)  # to limit processors
PLAIN = DomainSpec(
    server_id=ID,
    name="web-1",
    project_id="0123456789abcdef0123456789abcdef",
    vcpus=1,
    memory_mb=512,
    root=RootDisk(base_path="/images/base", base_format="qcow2", size_gb=1),
    nics=(Nic(device="tap0a1b2c3d-4e", mac="fa:16:3e:00:00:01", mtu=1500),),
    system_version="0.1.0",
)
FULL = dataclasses.replace(
    PLAIN,
    name='<script> & "quotes" ü',
    vcpus=4,
    nics=(*PLAIN.nics, Nic(device="tapffffffff-ff", mac="FA:16:3E:00:00:02", mtu=1450)),
    config_drive=b"iso",
    kernel_path="/images/kernel",
    ramdisk_path="/images/ramdisk",
    kernel_args="root=LABEL=guestroot console=ttyS0 a=<b>",
    ephemeral_gb=10,
    swap_mb=512,
)
SCSI = dataclasses.replace(PLAIN, image_properties={"hw_disk_bus": "scsi", "hw_vif_model": "e1000e"})
PINNED = dataclasses.replace(PLAIN, vcpus=2, pins=Pins(vcpus=(5, 3), emulator=(0, 1)), cpu_set=(0, 1))
SHARED = dataclasses.replace(PLAIN, cpu_set=(1, 0, 7))
NODES = dataclasses.replace(
    PLAIN,
    vcpus=3,
    nodes=(
        GuestNode(vcpus=(0, 2), memory_mb=256, cell_id=1, page_kb=2_048, cpu_set=(4, 5)),
        GuestNode(vcpus=(1,), memory_mb=256, cell_id=0, page_kb=1_048_576, cpu_set=(0,)),
    ),
    cpu_set=(0, 1, 4, 5),
    devices=("0000:81:00.0", "0001:0a:1f.7"),
)
PINNED_NODES = dataclasses.replace(NODES, pins=Pins(vcpus=(5, 0, 4), emulator=(5, 0, 4)), devices=(), nics=())
MIXED = dataclasses.replace(
    PLAIN, vcpus=3, pins=Pins(vcpus=(7, 6), of=(0, 2), emulator=(0, 1)), cpu_set=(0, 1)
)
LIMITED = dataclasses.replace(
    FULL,
    vcpus=2,
    pins=Pins(vcpus=(5, 3), emulator=(0, 1)),
    cpu_set=(0, 1),
    cpu_limits=CpuLimits(shares=2_048, period_us=20_000, quota_us=5_000),
    disk_limits=(
        DiskLimit(way="write", unit="iops", per_s=100),
        DiskLimit(way="read", unit="iops", per_s=200, burst=400, burst_s=30),
        DiskLimit(way="total", unit="bytes", per_s=10_000_000, burst=20_000_000),
    ),
)
PC = dataclasses.replace(PLAIN, nics=(), image_properties={"hw_machine_type": "pc-i440fx-7.2"})


def files(spec: DomainSpec) -> DomainFiles:
    folder = f"/var/lib/fabric/servers/{spec.server_id}"
    return DomainFiles(
        owner="/var/lib/fabric/servers",
        root=f"{folder}/root.qcow2",
        console_log=f"{folder}/console.log",
        ephemeral=f"{folder}/ephemeral0.raw" if spec.ephemeral_gb else None,
        swap=f"{folder}/swap.raw" if spec.swap_mb else None,
        config_drive=f"{folder}/config.iso" if spec.config_drive is not None else None,
    )


@pytest.mark.parametrize(
    ("name", "spec", "host"),
    [
        ("plain_tcg", PLAIN, TCG),
        ("plain_kvm", PLAIN, KVM),
        ("full_tcg", FULL, TCG),
        ("scsi_writeback", SCSI, HostTraits(accelerated=False, disk_cache="writeback")),
        ("pc_kvm", PC, KVM),
        ("pinned_kvm", PINNED, KVM),
        ("shared_tcg", SHARED, TCG),
        ("mixed_kvm", MIXED, KVM),
        ("nodes_tcg", NODES, TCG),
        ("pinned_nodes_kvm", PINNED_NODES, KVM),
        ("limited_tcg", LIMITED, ABLE),
    ],
)
def test_the_xml_is_the_one_we_meant(name: str, spec: DomainSpec, host: HostTraits) -> None:
    text = domain_xml(spec, files(spec), host)
    golden = GOLDEN / f"{name}.xml"
    if os.environ.get("FABRIC_REWRITE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()
    ElementTree.fromstring(text)


def test_text_that_xml_cannot_carry_is_replaced() -> None:
    spec = dataclasses.replace(PLAIN, name="a\x00b\x1bc\nd", kernel_path="/k", kernel_args="x\x07y")
    root = ElementTree.fromstring(domain_xml(spec, files(spec), TCG))
    assert root.findtext("title") == "a?b?c d"
    assert root.findtext("os/cmdline") == "x?y"


@pytest.mark.parametrize(
    "change",
    [
        {"image_properties": {"hw_disk_bus": "floppy"}},
        {"image_properties": {"hw_vif_model": "virtio'/><evil a='"}},
        {"image_properties": {"hw_machine_type": "q35</type>"}},
        {"pins": Pins(vcpus=(1, 2))},
        {"vcpus": 2, "pins": Pins(vcpus=(1,), of=(0,))},  # where does the other run?
        {"vcpus": 2, "nodes": (GuestNode(vcpus=(0,), memory_mb=512, cell_id=0),)},
        {"nodes": (GuestNode(vcpus=(0,), memory_mb=511, cell_id=0),)},
        {"devices": ("81:00.0",)},
        {"devices": ("0000:81:00.0'/>",)},
        {"nics": (Nic(device="a/b", mac="fa:16:3e:00:00:01", mtu=1500),)},
        {"nics": (Nic(device="tap0", mac="fa:16:3e", mtu=1500),)},
        {"nics": (Nic(device="sixteen-letters!", mac="fa:16:3e:00:00:01", mtu=1500),)},
    ],
)
def test_what_cannot_be_honoured_is_refused(change: dict[str, object]) -> None:
    spec = dataclasses.replace(PLAIN, **change)  # type: ignore[arg-type]
    with pytest.raises(DriverError):
        domain_xml(spec, files(spec), TCG)


def test_the_guest_is_known_to_cloud_init() -> None:
    """METADATA: ds-identify looks at the product name, cloud-init compares the uuid."""
    root = ElementTree.fromstring(domain_xml(PLAIN, files(PLAIN), TCG))
    entries = {entry.get("name"): entry.text for entry in root.iterfind("sysinfo/system/entry")}
    assert entries["product"] == "OpenStack Nova"
    assert entries["manufacturer"] == "OpenStack Foundation"
    assert entries["uuid"] == entries["serial"] == root.findtext("uuid") == ID


def test_names_go_both_ways() -> None:
    assert server_of(domain_name(ID)) == ID
    assert server_of("web") is None
    assert server_of("fabric-web") is None
    assert server_of(ID) is None


def test_the_owner_is_read_back_from_the_metadata() -> None:
    root = ElementTree.fromstring(domain_xml(PLAIN, files(PLAIN), TCG))
    server = root.find("metadata/{urn:fabric:server:1}server")
    assert server is not None
    assert owner_of(ElementTree.tostring(server, encoding="unicode")) == "/var/lib/fabric/servers"
    assert owner_of("<server><owner>/x</owner></server>") == "/x"  # as libvirt gives it: no prefixes
    assert owner_of("") == ""
    assert owner_of("<not xml") == ""


def test_pins_are_read_back() -> None:
    assert pins_of(domain_xml(PINNED, files(PINNED), KVM)) == PINNED.pins
    assert pins_of(domain_xml(SHARED, files(SHARED), TCG)) is None
    assert pins_of(domain_xml(MIXED, files(MIXED), KVM)) == MIXED.pins
    assert pins_of(domain_xml(PINNED_NODES, files(PINNED_NODES), KVM)) == dataclasses.replace(
        PINNED_NODES.pins or Pins(), emulator=(0, 4, 5)
    )
    assert pins_of("<domain><cputune><shares>5</shares></cputune></domain>") is None


def test_pins_of_somebody_elses_making_count_with_all_they_name() -> None:
    tune = "<vcpupin vcpu='1' cpuset='4'/><vcpupin vcpu='0' cpuset='0-2,^1'/><emulatorpin cpuset='7,6'/>"
    assert pins_of(f"<domain><cputune>{tune}</cputune></domain>") == Pins(
        vcpus=(4,), of=(1,), emulator=(0, 2, 6, 7)
    )
    for odd in ("no xml", "<domain><cputune><vcpupin vcpu='0' cpuset='many'/></cputune></domain>"):
        with pytest.raises(DriverError):
            pins_of(odd)


def test_a_host_that_cannot_limit_processors_says_so_instead_of_dropping_it() -> None:
    for limits in (CpuLimits(shares=2_048), CpuLimits(quota_us=5_000)):
        spec = dataclasses.replace(PLAIN, cpu_limits=limits)
        with pytest.raises(DriverError, match="cannot limit processors"):
            domain_xml(spec, files(spec), TCG)
        tune = ElementTree.fromstring(domain_xml(spec, files(spec), ABLE)).find("cputune")
        assert tune is not None
        assert len(tune) == 1


@pytest.mark.parametrize(
    "limits",
    [
        [DiskLimit(way="total", unit="iops", per_s=1), DiskLimit(way="read", unit="iops", per_s=1)],
        [DiskLimit(way="read", unit="iops", per_s=1), DiskLimit(way="read", unit="iops", per_s=2)],
        [DiskLimit(way="read", unit="iops", per_s=0)],
        [DiskLimit(way="sideways", unit="iops", per_s=1)],
    ],
)
def test_limits_that_no_disk_can_have(limits: list[DiskLimit]) -> None:
    spec = dataclasses.replace(PLAIN, disk_limits=tuple(limits))
    with pytest.raises(DriverError, match=r"disk"):
        domain_xml(spec, files(spec), TCG)
