"""A server's description as libvirt domain XML. Pure: same inputs, same text; golden files watch it.

Source of elements: libvirt.org/formatdomain.html. Choices that are not obvious:

- The config drive is a virtio-scsi CD-ROM. Debian's cloud kernel has no ahci, so a SATA one is invisible.
- SMBIOS says manufacturer, product, serial and uuid as cloud-init wants them (METADATA: ds-identify); the
  uuid is the server's id, by which cloud-init knows it is the same instance.
- Root ports beyond those in use are for hot-plug: q35 takes new devices only into free ones.
- Emulation keeps translated code in 32 MiB instead of QEMU's default of up to 1 GiB: 30 MB less per guest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

from drivers.contract import DomainSpec, Nic, Pins
from drivers.libvirt.domain_limits import limit_disk, limit_processors
from drivers.libvirt.domain_topology import (
    check_nodes,
    cpu_list,
    floating,
    guest_nodes,
    host_devices,
    memory_binding,
)
from proto.errors import DriverError
from proto.ids import ServerId, is_uuid

NAME_PREFIX = "fabric-"
METADATA_NAMESPACE = "urn:fabric:server:1"
METADATA_PREFIX = "fabric"
SPARE_ROOT_PORTS = 4
TCG_CACHE_MIB = 32
CONFIG_DRIVE_DEVICE = "sdd"  # behind the three disks there can be
MANUFACTURER = "OpenStack Foundation"
PRODUCT = "OpenStack Nova"

_DISK_BUSES = ("virtio", "scsi")
_NIC_MODELS = ("virtio", "e1000", "e1000e", "rtl8139")
_MACHINE = re.compile(r"[a-z0-9.\-]{1,40}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_DEVICE = re.compile(r"[A-Za-z0-9_.\-]{1,15}")
# What XML 1.0 cannot carry even escaped (section 2.2 of the recommendation).
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainFiles:
    """Absolute paths of one server's files. None: the server has no such thing."""

    owner: str  # the driver's directory: tells our domains from another agent's on the same libvirtd
    root: str
    console_log: str
    ephemeral: str | None = None
    swap: str | None = None
    config_drive: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostTraits:
    accelerated: bool  # KVM, proven to work
    limits_cpu: bool = False  # libvirt has cgroups to do it with
    disk_cache: str = "none"  # "none" needs O_DIRECT; "writeback" where the file system has none


def domain_name(server_id: ServerId) -> str:
    return NAME_PREFIX + server_id


def server_of(name: str) -> ServerId | None:
    """The server a domain's name tells of; None for a domain that is not ours."""
    candidate = name.removeprefix(NAME_PREFIX)
    return ServerId(candidate) if candidate != name and is_uuid(candidate) else None


def domain_xml(spec: DomainSpec, files: DomainFiles, host: HostTraits) -> str:
    """The domain `spec` asks for.

    Raises:
        DriverError: an image property, device name or MAC that this driver cannot honour.
    """
    root = ElementTree.Element("domain", type="kvm" if host.accelerated else "qemu")
    _text(root, "name", domain_name(spec.server_id))
    _text(root, "uuid", spec.server_id)
    _text(root, "title", _printable(spec.name)[:255].replace("\n", " "))
    _metadata(root, spec, files)
    _text(root, "memory", str(spec.memory_mb), unit="MiB")
    check_nodes(spec)
    memory_binding(root, spec)
    _processors(root, spec)
    limit_processors(root, spec.cpu_limits, is_able=host.limits_cpu)
    _sysinfo(root, spec)
    _os(root, spec)
    _cpu_and_features(root, spec, host)
    _clock(root, host)
    for event, action in (("on_poweroff", "destroy"), ("on_reboot", "restart"), ("on_crash", "destroy")):
        _text(root, event, action)
    devices = ElementTree.SubElement(root, "devices")
    _disks(devices, spec, files, host)
    _controllers(devices, spec)
    for nic in spec.nics:
        _nic(devices, nic, _property(spec, "hw_vif_model", _NIC_MODELS))
    host_devices(devices, spec)
    _console_and_helpers(devices, files)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def pins_of(domain: str) -> Pins | None:
    """Those that a domain's XML tells of; None when it is held to none. Processors that a vCPU shares, or is
    held to by somebody else, count with the emulator's.

    Raises DriverError: it is no domain.
    """
    try:
        tune = ElementTree.fromstring(domain).find("cputune")  # noqa: S314 - libvirt wrote it
        if tune is None:
            return None
        pinned = sorted(tune.iterfind("vcpupin"), key=lambda each: int(each.get("vcpu", "0")))
        sets = {int(each.get("vcpu", "0")): cpus_of(each.get("cpuset", "")) for each in pinned}
        emulator = tune.find("emulatorpin")
        others = set() if emulator is None else set(cpus_of(emulator.get("cpuset", "")))
    except (ElementTree.ParseError, ValueError) as error:
        raise DriverError(f"libvirt describes a domain in words that are not known: {error}") from error
    own = {number: cpus[0] for number, cpus in sets.items() if len(cpus) == 1}
    others.update(cpu for number, cpus in sets.items() if number not in own for cpu in cpus)
    of = tuple(own) if len(own) < len(sets) else ()
    return Pins(vcpus=tuple(own.values()), of=of, emulator=tuple(sorted(others))) if sets else None


def qemu_owner(capabilities: str) -> tuple[int, int] | None:
    """The user and group that QEMU runs as, from libvirt's capabilities; None: as libvirtd itself."""
    try:
        models = ElementTree.fromstring(capabilities).iterfind("host/secmodel")  # noqa: S314 - libvirt wrote it
        labels = [model.findtext("baselabel") for model in models if model.findtext("model") == "dac"]
        user, group = (int(number) for number in str(labels[0]).split(":")) if labels else (-1, -1)
    except (ElementTree.ParseError, ValueError) as error:
        raise DriverError(f"libvirt describes its host in words that are not known: {error}") from error
    return (user, group) if user >= 0 and group >= 0 else None


def cpus_of(text: str) -> tuple[int, ...]:
    """libvirt's "0-2,5", in which "^1" takes one out. Raises ValueError."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        low, _, high = part.removeprefix("^").partition("-")
        change = found.difference_update if part.startswith("^") else found.update
        change(range(int(low), int(high or low) + 1))
    return tuple(sorted(found))


def owner_of(metadata_xml: str) -> str:
    """The `DomainFiles.owner` a domain's metadata names; empty when it cannot be told."""
    try:
        element = ElementTree.fromstring(metadata_xml)  # noqa: S314 - libvirt wrote it, from our own text
    except ElementTree.ParseError:
        return ""
    return element.findtext(f"{{{METADATA_NAMESPACE}}}owner") or element.findtext("owner") or ""


def _text(parent: ElementTree.Element, tag: str, text: str, attributes: Mapping[str, str] | None = None, /,
          unit: str | None = None) -> ElementTree.Element:  # fmt: skip
    element = ElementTree.SubElement(parent, tag, dict(attributes or {}))
    if unit is not None:
        element.set("unit", unit)
    element.text = text
    return element


def _empty(parent: ElementTree.Element, tag: str, /, **attributes: str) -> ElementTree.Element:
    return ElementTree.SubElement(parent, tag, attributes)


def _printable(text: str) -> str:
    return _NOT_XML.sub("?", text)


def _property(spec: DomainSpec, name: str, allowed: tuple[str, ...]) -> str:
    """An image property's value; the first allowed one when the image says nothing."""
    value = spec.image_properties.get(name, allowed[0])
    if value not in allowed:
        raise DriverError(f"image property {name}={value[:40]!r} is not one of {', '.join(allowed)}")
    return value


def _metadata(root: ElementTree.Element, spec: DomainSpec, files: DomainFiles) -> None:
    ElementTree.register_namespace(METADATA_PREFIX, METADATA_NAMESPACE)
    server = _empty(_empty(root, "metadata"), f"{{{METADATA_NAMESPACE}}}server")
    _text(server, f"{{{METADATA_NAMESPACE}}}owner", files.owner)
    _text(server, f"{{{METADATA_NAMESPACE}}}project", _printable(spec.project_id))


def _processors(root: ElementTree.Element, spec: DomainSpec) -> None:
    """Pins hold without cgroups, too: libvirt sets them on each thread."""
    vcpu = _text(root, "vcpu", str(spec.vcpus))
    if spec.pins is None:
        sets = floating(spec)
        anywhere = {cpu for cpus in sets.values() for cpu in cpus} or spec.cpu_set
        if anywhere:
            vcpu.set("placement", "static")
            vcpu.set("cpuset", cpu_list(anywhere))
        if sets:
            tune = _empty(root, "cputune")
            for number in sorted(sets):
                _empty(tune, "vcpupin", vcpu=str(number), cpuset=cpu_list(sets[number]))
            _empty(tune, "emulatorpin", cpuset=cpu_list(anywhere))
        return
    whose = spec.pins.of or tuple(range(spec.vcpus))
    if len(spec.pins.vcpus) != len(whose):
        raise DriverError(f"{len(spec.pins.vcpus)} processors for {len(whose)} vCPUs")
    sets = dict.fromkeys(range(spec.vcpus), spec.cpu_set) | floating(spec)
    sets |= {number: (cpu,) for number, cpu in zip(whose, spec.pins.vcpus, strict=True)}
    if not all(sets.values()):
        raise DriverError("of vCPUs that share processors it is not said which")
    vcpu.set("placement", "static")
    vcpu.set("cpuset", cpu_list({*spec.pins.emulator, *(cpu for cpus in sets.values() for cpu in cpus)}))
    tune = _empty(root, "cputune")
    for number in range(spec.vcpus):
        _empty(tune, "vcpupin", vcpu=str(number), cpuset=cpu_list(sets[number]))
    if spec.pins.emulator:
        _empty(tune, "emulatorpin", cpuset=cpu_list(spec.pins.emulator))


def _sysinfo(root: ElementTree.Element, spec: DomainSpec) -> None:
    system = _empty(_empty(root, "sysinfo", type="smbios"), "system")
    entries = {
        "manufacturer": MANUFACTURER,
        "product": PRODUCT,
        "version": _printable(spec.system_version) or "0",
        "serial": spec.server_id,
        "uuid": spec.server_id,
        "family": "Virtual Machine",
    }
    for name, value in entries.items():
        _text(system, "entry", value, {"name": name})


def _os(root: ElementTree.Element, spec: DomainSpec) -> None:
    machine = spec.image_properties.get("hw_machine_type", "q35")
    if not _MACHINE.fullmatch(machine):
        raise DriverError(f"image property hw_machine_type={machine[:40]!r} is not a machine type")
    system = _empty(root, "os")
    _text(system, "type", "hvm", {"arch": "x86_64", "machine": machine})
    if spec.kernel_path is not None:
        _text(system, "kernel", spec.kernel_path)
        if spec.ramdisk_path is not None:
            _text(system, "initrd", spec.ramdisk_path)
        if spec.kernel_args:
            _text(system, "cmdline", _printable(spec.kernel_args))
    else:
        _empty(system, "boot", dev="hd")
    _empty(system, "smbios", mode="sysinfo")


def _cpu_and_features(root: ElementTree.Element, spec: DomainSpec, host: HostTraits) -> None:
    features = _empty(root, "features")
    _empty(features, "acpi")
    _empty(features, "apic")
    if host.accelerated:
        cpu = _empty(root, "cpu", mode="host-model", check="partial")
    else:
        _text(_empty(features, "tcg"), "tb-cache", str(TCG_CACHE_MIB), unit="MiB")
        cpu = _empty(root, "cpu", mode="custom", match="exact", check="none")
        _text(cpu, "model", "qemu64", {"fallback": "forbid"})
    # One socket a vCPU is what Nova gives, and what guests licensed by socket were measured against.
    _empty(cpu, "topology", sockets=str(spec.vcpus), cores="1", threads="1")
    guest_nodes(cpu, spec)


def _clock(root: ElementTree.Element, host: HostTraits) -> None:
    clock = _empty(root, "clock", offset="utc")
    if host.accelerated:  # the lost-tick policies are KVM's; emulation refuses them
        _empty(clock, "timer", name="pit", tickpolicy="delay")
        _empty(clock, "timer", name="rtc", tickpolicy="catchup")
    _empty(clock, "timer", name="hpet", present="no")


def _disks(devices: ElementTree.Element, spec: DomainSpec, files: DomainFiles, host: HostTraits) -> None:
    bus = _property(spec, "hw_disk_bus", _DISK_BUSES)
    prefix = "vd" if bus == "virtio" else "sd"
    wanted = ((files.root, "qcow2"), (files.ephemeral, "raw"), (files.swap, "raw"))
    present = [(path, kind) for path, kind in wanted if path is not None]
    for letter, (path, kind) in zip("abc", present, strict=False):
        disk = _empty(devices, "disk", type="file", device="disk")
        _empty(disk, "driver", name="qemu", type=kind, cache=host.disk_cache, discard="unmap")
        _empty(disk, "source", file=path)
        _empty(disk, "target", dev=prefix + letter, bus=bus)
        limit_disk(disk, spec.disk_limits)
    if files.config_drive is not None:
        disk = _empty(devices, "disk", type="file", device="cdrom")
        _empty(disk, "driver", name="qemu", type="raw", cache=host.disk_cache)
        _empty(disk, "source", file=files.config_drive)
        # libvirt derives controller and unit from the letter; after "sdg" comes another controller.
        _empty(disk, "target", dev=CONFIG_DRIVE_DEVICE, bus="scsi")
        _empty(disk, "readonly")


def _controllers(devices: ElementTree.Element, spec: DomainSpec) -> None:
    """A virtio-scsi bus; on q35 also the root ports: one for each device on the bus, and the spare ones."""
    _empty(devices, "controller", type="scsi", index="0", model="virtio-scsi")
    if "q35" not in spec.image_properties.get("hw_machine_type", "q35"):
        return
    _empty(devices, "controller", type="pci", index="0", model="pcie-root")
    # scsi, serial bus, balloon and rng; disks; NICs; devices of the host.
    disks = 1 + (spec.ephemeral_gb > 0) + (spec.swap_mb > 0)
    for index in range(1, 4 + disks + len(spec.nics) + len(spec.devices) + SPARE_ROOT_PORTS + 1):
        _empty(devices, "controller", type="pci", index=str(index), model="pcie-root-port")


def _nic(devices: ElementTree.Element, nic: Nic, model: str) -> None:
    if not _DEVICE.fullmatch(nic.device):
        raise DriverError(f"{nic.device[:40]!r} is not a network device name")
    if not _MAC.fullmatch(nic.mac.lower()):
        raise DriverError(f"{nic.mac[:40]!r} is not a MAC address")
    interface = _empty(devices, "interface", type="ethernet")
    _empty(interface, "mac", address=nic.mac.lower())
    _empty(interface, "target", dev=nic.device, managed="no")
    _empty(interface, "model", type=model)
    _empty(interface, "mtu", size=str(nic.mtu))


def _console_and_helpers(devices: ElementTree.Element, files: DomainFiles) -> None:
    serial = _empty(devices, "serial", type="pty")
    _empty(serial, "log", file=files.console_log, append="on")
    _empty(serial, "target", type="isa-serial", port="0")
    channel = _empty(devices, "channel", type="unix")
    _empty(channel, "target", type="virtio", name="org.qemu.guest_agent.0")
    # A unix socket whose path libvirt chooses: ours could pass the 107 characters such paths may have.
    graphics = _empty(devices, "graphics", type="vnc")
    _empty(graphics, "listen", type="socket")
    video = _empty(devices, "video")
    _empty(video, "model", type="vga")
    rng = _empty(devices, "rng", model="virtio")
    _text(rng, "backend", "/dev/urandom", {"model": "random"})
    balloon = _empty(devices, "memballoon", model="virtio")
    _empty(balloon, "stats", period="10")
