"""What another host may send, and what becomes of a domain on its way."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from drivers.contract import CpuLimits, DiskLimit, DomainSpec, GuestNode, Nic, Pins, RootDisk
from drivers.libvirt.disks import ServerDirectory
from drivers.libvirt.domain_xml import HostTraits, domain_xml, qemu_owner
from drivers.libvirt.migration_xml import check_incoming, for_destination
from proto.errors import DriverError
from proto.ids import ServerId

SERVER = ServerId("9a3c0e1e-6b7c-4a0f-8a51-0d0c3a5e7b11")
SPEC = DomainSpec(
    server_id=SERVER,
    name="web /1",
    project_id="p",
    vcpus=2,
    memory_mb=128,
    root=RootDisk(base_path="/images/base", base_format="qcow2", size_gb=1),
    nics=(Nic(device="tap-a", mac="fa:16:3e:00:00:01", mtu=1450),),
    config_drive=b"x",
    swap_mb=4,
    kernel_path="/images/kernel",
    ramdisk_path="/images/ramdisk",
    kernel_args="root=/dev/vda",
)
HERE, THERE = Path("/here"), Path("/there")


def description(
    spec: DomainSpec = SPEC, owner: Path = HERE, *, kvm: bool = False, cache: str = "none"
) -> str:
    files = ServerDirectory(owner, spec.server_id).files(spec)
    return domain_xml(spec, files, HostTraits(accelerated=kvm, limits_cpu=True, disk_cache=cache))


def running(spec: DomainSpec = SPEC, owner: Path = HERE) -> str:
    """As libvirt gives it back: with what it adds by itself."""
    root = ElementTree.fromstring(description(spec, owner))
    ElementTree.SubElement(ElementTree.SubElement(root, "resource"), "partition").text = "/machine"
    memory = root.find("memory")
    assert memory is not None
    memory.attrib, memory.text = {"unit": "KiB"}, str(spec.memory_mb * 1024)
    vcpu = root.find("vcpu")
    assert vcpu is not None
    vcpu.set("placement", "static")
    devices = root.find("devices")
    assert devices is not None
    ElementTree.SubElement(devices, "emulator").text = "/usr/bin/qemu-system-x86_64"
    console = ElementTree.SubElement(devices, "console", type="pty")
    ElementTree.SubElement(console, "log", file=f"{owner}/{SERVER}/console.log", append="on")
    ElementTree.SubElement(devices, "input", type="mouse", bus="ps2")
    for disk in root.iterfind("devices/disk"):
        ElementTree.SubElement(disk, "address", type="pci", domain="0x0000", bus="0x05")
    return ElementTree.tostring(root, encoding="unicode")


def test_what_is_the_hosts_is_the_destinations_and_the_rest_stays() -> None:
    spec_there = dataclasses.replace(
        SPEC,
        nics=(dataclasses.replace(SPEC.nics[0], device="tap-b"),),
        pins=Pins(vcpus=(2, 3), emulator=(0,)),
        kernel_path="/images/there/kernel",
    )
    made = for_destination(running(), description(spec_there, THERE, cache="writeback"))
    root = ElementTree.fromstring(made)
    assert "/here" not in made
    assert [disk.get("file") for disk in root.iterfind("devices/disk/source")] == [
        f"/there/{SERVER}/{name}" for name in ("root.qcow2", "swap.raw", "config.iso")
    ]
    assert {each.get("cache") for each in root.iterfind("devices/disk/driver")} == {"writeback"}
    assert len(root.findall("devices/disk/address")) == 3
    assert root.find("devices/interface/target").get("dev") == "tap-b"  # type: ignore[union-attr]
    assert root.findtext("os/kernel") == "/images/there/kernel"
    assert [pin.get("cpuset") for pin in root.iterfind("cputune/vcpupin")] == ["2", "3"]
    check_incoming(made, description(spec_there, THERE, cache="writeback"))


def test_cells_and_shared_processors_are_the_destinations() -> None:
    def on_cell(cell_id: int, cpus: tuple[int, ...]) -> DomainSpec:
        node = GuestNode(vcpus=(0, 1), memory_mb=128, cell_id=cell_id, page_kb=2048, cpu_set=cpus)
        return dataclasses.replace(SPEC, nodes=(node,))

    there = description(on_cell(1, (4, 5, 6)), THERE)
    made = for_destination(running(on_cell(0, (0, 1))), there)
    root = ElementTree.fromstring(made)
    assert [each.get("nodeset") for each in root.iterfind("numatune/memnode")] == ["1"]
    check_incoming(made.replace('cpuset="4,5,6"', 'cpuset="4-6"'), there)  # as libvirt writes it
    for bad in ('cpuset="4-7"', 'cpuset="x"'):
        with pytest.raises(DriverError, match="not asked for"):
            check_incoming(made.replace('cpuset="4,5,6"', bad), there)
    with pytest.raises(DriverError, match="cells"):
        check_incoming(made.replace('nodeset="1"', 'nodeset="0"'), there)


def test_limits_are_the_destinations_and_nothing_gets_in_without_them() -> None:
    def limited(per_s: int) -> DomainSpec:
        return dataclasses.replace(
            SPEC,
            cpu_limits=CpuLimits(shares=10, quota_us=per_s * 1_000),
            disk_limits=(DiskLimit(way="write", unit="iops", per_s=per_s, burst=70),),
        )

    there = description(limited(50), THERE)
    made = for_destination(running(limited(60)), there)  # as somebody changed it while it ran
    root = ElementTree.fromstring(made)
    assert root.findtext("cputune/quota") == "50000"
    limits = [each.text for each in root.iterfind("devices/disk/iotune/write_iops_sec")]
    assert limits == ["50", "50"]  # root and swap; none for the config drive
    one_second = "</write_iops_sec_max><write_iops_sec_max_length>1</write_iops_sec_max_length>"
    check_incoming(made.replace("</write_iops_sec_max>", one_second), there)
    for old, new in (
        ("<write_iops_sec>50<", "<write_iops_sec>51<"),
        ("<write_iops_sec_max>70</write_iops_sec_max>", ""),
        ("<quota>50000</quota>", ""),
        ("<shares>10<", "<shares>11<"),
    ):
        assert old in made
        with pytest.raises(DriverError, match=r"not asked for: (limits of disk|processors)"):
            check_incoming(made.replace(old, new, 1), there)
    free = description(dataclasses.replace(limited(50), disk_limits=()), THERE)
    assert "iotune" not in for_destination(running(limited(60)), free)
    with pytest.raises(DriverError, match="limits of disk"):
        check_incoming(made, free)


def test_one_with_a_device_of_the_host_stays() -> None:
    spec = dataclasses.replace(SPEC, devices=("0000:81:00.0",))
    with pytest.raises(DriverError, match="cannot go along"):
        for_destination(running(spec), description(spec, THERE))


def test_pins_are_left_behind() -> None:
    pinned = dataclasses.replace(SPEC, pins=Pins(vcpus=(2, 3)))
    made = for_destination(running(pinned), description(SPEC, THERE))
    assert "vcpupin" not in made
    check_incoming(made, description(SPEC, THERE))


@pytest.mark.parametrize(
    ("there", "says"),
    [
        (description(SPEC, THERE, kvm=True), "runs by"),
        (description(dataclasses.replace(SPEC, server_id=ServerId("0" * 8 + SERVER[8:]))), "another guest"),
        (description(dataclasses.replace(SPEC, swap_mb=0), THERE), "no place for disk vdb"),
        (description(dataclasses.replace(SPEC, nics=()), THERE), "no tap"),
        (description(dataclasses.replace(SPEC, kernel_path=None), THERE), "another way"),
        ("<domain", "no XML"),
    ],
)
def test_what_the_destination_cannot_take_is_an_error_here(there: str, says: str) -> None:
    with pytest.raises(DriverError, match=says):
        for_destination(running(), there)


Change = Callable[[ElementTree.Element], None]


def at(path: str, **attributes: str) -> Change:
    def change(root: ElementTree.Element) -> None:
        element = root.find(path)
        assert element is not None, path
        element.attrib.update(attributes)

    return change


def text(path: str, value: str) -> Change:
    def change(root: ElementTree.Element) -> None:
        element = root.find(path)
        assert element is not None, path
        element.text = value

    return change


def add(path: str, xml: str) -> Change:
    def change(root: ElementTree.Element) -> None:
        parent = root.find(path) if path else root
        assert parent is not None, path
        parent.append(ElementTree.fromstring(xml))

    return change


QEMU = "http://libvirt.org/schemas/domain/qemu/1.0"
HOSTILE: dict[str, Change] = {
    "another file": at("devices/disk/source", file="/etc/shadow"),
    "the same file twice as something else": at("devices/disk/driver", type="raw"),
    "its raw disk read as qcow2": at("devices/disk[2]/driver", type="qcow2"),
    "a block device": at("devices/disk", type="block"),
    "a source with more": add("devices/disk/source", "<reservations/>"),
    "another disk": add("devices", "<disk type='file'><source file='/etc/shadow'/></disk>"),
    "a backing chain": add("devices/disk", "<backingStore><source file='/etc/shadow'/></backingStore>"),
    "a mirror": add("devices/disk", "<mirror file='/etc/passwd'/>"),
    "a program": text("devices/emulator", "/bin/sh"),
    "a program of a like name": text("devices/emulator", "/tmp/qemu-system-x86_64"),
    "another console log": at("devices/serial/log", file="/etc/cron.d/x"),
    "another console": at("devices/console", type="file"),
    "another serial port": at("devices/serial", type="tcp"),
    "a socket of the host": add("devices/channel", "<source mode='connect' path='/run/docker.sock'/>"),
    "a device of the host": add("devices", "<hostdev mode='subsystem' type='pci'/>"),
    "a directory of the host": add("devices", "<filesystem><source dir='/'/></filesystem>"),
    "another tap": at("devices/interface/target", dev="tap-z"),
    "a bridge": at("devices/interface", type="bridge"),
    "a script": add("devices/interface", "<script path='/tmp/x'/>"),
    "another NIC": add("devices", "<interface type='ethernet'><target dev='tap-z'/></interface>"),
    "randomness from a file": text("devices/rng/backend", "/etc/shadow"),
    "VNC on a port": at("devices/graphics", type="spice"),
    "a VNC socket": at("devices/graphics/listen", socket="/tmp/x"),
    "another kernel": text("os/kernel", "/etc/shadow"),
    "other arguments": text("os/cmdline", "init=/bin/sh"),
    "a loader": add("os", "<loader>/tmp/x</loader>"),
    "more memory": text("memory", "99999999"),
    "memory in a unit": at("memory", unit="TiB"),
    "more processors": text("vcpu", "8"),
    "processors of others": at("vcpu", cpuset="0"),
    "pins": add("", "<cputune><vcpupin vcpu='0' cpuset='3'/></cputune>"),
    "arguments for QEMU": add("", f"<commandline xmlns='{QEMU}'><arg value='-chardev'/></commandline>"),
    "VNC on an address": at("devices/graphics/listen", type="address", address="0.0.0.0"),
    "VNC with a port": at("devices/graphics", port="5900"),
    "raw access to a disk": at("devices/disk", rawio="yes"),
    "a backing on the network": add("devices/disk", "<backingStore type='network'/>"),
    "memory of the host": add("", "<memoryBacking><source type='file'/></memoryBacking>"),
    "no confinement": add("", "<seclabel type='none' model='dac'/>"),
    "another user": add("", "<seclabel type='static' model='dac'><label>+0:+0</label></seclabel>"),
    "another partition": text("resource/partition", "/system.slice"),
    "another owner": text("metadata/*/{urn:fabric:server:1}owner", "/elsewhere"),
    "another name": text("name", "fabric-other"),
    "another uuid": text("uuid", "0" * 8 + SERVER[8:]),
    "a file as firmware's word": add("sysinfo", "<entry name='x' file='/etc/shadow'/>"),
    "another kind of sysinfo": at("sysinfo", type="fwcfg"),
    "another hypervisor": lambda root: root.set("type", "kvm"),
    "another kind of domain": lambda root: setattr(root, "tag", "network"),
}  # fmt: skip


def test_an_honest_one_passes() -> None:
    check_incoming(running(), description())


@pytest.mark.parametrize("what", HOSTILE)
def test_nothing_else_of_this_host_is_named(what: str) -> None:
    root = ElementTree.fromstring(running())
    HOSTILE[what](root)
    with pytest.raises(DriverError, match="not asked for"):
        check_incoming(ElementTree.tostring(root, encoding="unicode"), description())


@pytest.mark.parametrize("bad", ["", "<domain", "<domain>" + "x" * 300_000 + "</domain>"])
def test_what_is_no_description(bad: str) -> None:
    with pytest.raises(DriverError):
        check_incoming(bad, description())


def test_entities_do_not_grow() -> None:
    bomb = "<!DOCTYPE x [<!ENTITY a '" + "a" * 1000 + "'>"
    for one, other in zip("bcdefgh", "abcdefg", strict=True):
        bomb += f"<!ENTITY {one} '" + f"&{other};" * 20 + "'>"
    with pytest.raises(DriverError):
        check_incoming(bomb + "]><domain>&h;</domain>", description())


@pytest.mark.parametrize(
    ("models", "owner"),
    [
        (
            "<secmodel><model>dac</model><baselabel type='kvm'>+64055:+108</baselabel></secmodel>",
            (64055, 108),
        ),
        ("<secmodel><model>none</model></secmodel>", None),
        ("", None),
    ],
)
def test_who_qemu_runs_as(models: str, owner: tuple[int, int] | None) -> None:
    assert qemu_owner(f"<capabilities><host>{models}</host></capabilities>") == owner


def test_capabilities_in_other_words() -> None:
    bad = "<secmodel><model>dac</model><baselabel type='kvm'>qemu</baselabel></secmodel>"
    with pytest.raises(DriverError, match="not known"):
        qemu_owner(f"<capabilities><host>{bad}</host></capabilities>")
