"""A domain's description on its way to another host: made fit for it here, and looked through there. Pure.

The destination says how it would define the domain itself (`domain_xml`). From that the source takes all that
names something of a host: files, taps, processors, owner; the rest stays as it runs, devices' addresses
above all. The destination then lets nothing in that names more of it than its own words do: a host that was
taken over gets no other guest, file or program of its neighbours by a migration.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree

from drivers.libvirt.domain_limits import iotune_of
from drivers.libvirt.domain_xml import METADATA_NAMESPACE, cpus_of
from proto.errors import DriverError

Element = ElementTree.Element

XML_BYTES_MAX = 256 * 1024  # a domain of ours has about 8 KiB
EMULATOR = "qemu-system-x86_64"
_KIB = {"b": 0, "bytes": 0, "KiB": 1, "MiB": 1 << 10, "GiB": 1 << 20}  # as libvirt and we write memory
_LISTS = frozenset({"cpuset", "nodeset"})  # attributes that are lists of numbers
_PARTITION = "/machine"  # libvirt's own, for all guests

# What is the guest's own affair: whatever is in them names nothing of the host, as long as no path is in it.
_GUESTS_OWN = frozenset({"features", "cpu", "clock", "pm", "on_poweroff", "on_reboot", "on_crash", "sysinfo"})
_CHECKED = frozenset({"name", "uuid", "metadata", "memory", "currentMemory", "vcpu", "cputune", "numatune",
                      "memoryBacking", "os", "devices", "resource", "seclabel", "title"})  # fmt: skip
_WORDS_FOR_PEOPLE = frozenset({"title", "sysinfo"})
_DEVICES = frozenset({"emulator", "disk", "controller", "interface", "serial", "console", "channel", "input",
                      "graphics", "video", "audio", "memballoon", "rng"})  # fmt: skip
_HARMLESS_PARTS = frozenset({"address", "alias", "model", "driver", "target", "mac", "mtu", "link", "stats",
                             "readonly", "master", "iotune"})  # fmt: skip
_BARE = frozenset({"disk", "interface", "graphics", "serial", "channel", "rng"})  # as we write them
_OS_PARTS = frozenset({"type", "kernel", "initrd", "cmdline", "boot", "smbios", "bootmenu"})


def for_destination(running: str, wanted: str) -> str:
    """The domain as it runs (or is defined) here, with what the destination calls its own.

    Raises:
        DriverError: it has a disk or NIC that the destination does not know of, or cannot run there.
    """
    here, there = _parse(running), _parse(wanted)
    if here.get("type") != there.get("type"):
        raise DriverError(
            f"the guest runs by {here.get('type')}, the other host runs guests by {there.get('type')}"
        )
    for tag in ("name", "uuid"):
        if here.findtext(tag) != there.findtext(tag):
            raise DriverError(f"the other host expects another guest: {tag} differs")
    if here.find("devices/hostdev") is not None or there.find("devices/hostdev") is not None:
        raise DriverError("a device of the host is part of the guest, and cannot go along")
    for tag in ("metadata", "cputune", "numatune", "memoryBacking"):
        _replace(here, there, tag)
    _take_attributes(here, there, "vcpu")
    for tag in ("os/kernel", "os/initrd"):
        _take_text(here, there, tag)
    for disk in here.iterfind("devices/disk"):
        _redirect_disk(disk, there)
    for nic in here.iterfind("devices/interface"):
        _redirect_nic(nic, there)
    log = there.find("devices/serial/log")
    for kind in ("serial", "console"):
        for element in here.iterfind(f"devices/{kind}/log"):
            if log is not None:
                element.set("file", log.get("file", ""))
    for label in here.findall("seclabel"):  # of the process here
        here.remove(label)
    return ElementTree.tostring(here, encoding="unicode")


def check_incoming(arriving: str, wanted: str) -> None:
    """Raises DriverError when `arriving` is another domain than `wanted`, larger, or names anything of this
    host that `wanted` does not."""
    there, own = _parse(arriving), _parse(wanted)
    if there.tag != "domain" or there.get("type") != own.get("type"):
        raise _refused("its type")
    for part in there:
        if part.tag not in _GUESTS_OWN | _CHECKED:
            raise _refused(f"element {_plain(part.tag)}")
        if part.tag in _GUESTS_OWN or part.tag == "title":
            _no_path(part)
        if part.tag == "sysinfo" and part.get("type") != "smbios":
            raise _refused("sysinfo")
    for tag in ("name", "uuid", f"metadata/*/{{{METADATA_NAMESPACE}}}owner"):
        if _texts(there, tag) != _texts(own, tag):
            raise _refused(tag.rpartition("}")[2])
    if {_memory_kib(part) for part in there.iterfind("memory")} != {
        _memory_kib(part) for part in own.iterfind("memory")
    }:
        raise _refused("memory")
    if [_words(part) for part in _placement(there)] != [_words(part) for part in _placement(own)]:
        raise _refused("processors or cells")
    if any(text != _PARTITION for text in _texts(there, "resource/partition")):
        raise _refused("resource partition")
    if any(label.get("type") != "dynamic" or len(label) for label in there.iterfind("seclabel")):
        raise _refused("seclabel")
    _check_os(there, own)
    for device in there.iterfind("devices/*"):
        _check_device(device, own)


def _parse(text: str) -> Element:
    if len(text) > XML_BYTES_MAX:
        raise DriverError(f"a domain's description of {len(text)} characters is too long")
    try:
        return ElementTree.fromstring(text)  # noqa: S314 - bounded; expat itself bounds what entities become
    except ElementTree.ParseError as error:
        raise DriverError(f"a domain's description is no XML: {error}") from error


# -- for the destination


def _replace(here: Element, there: Element, tag: str) -> None:
    for element in here.findall(tag):
        here.remove(element)
    element_there = there.find(tag)
    if element_there is not None:
        here.append(element_there)


def _take_attributes(here: Element, there: Element, tag: str) -> None:
    mine, theirs = here.find(tag), there.find(tag)
    if mine is not None and theirs is not None:
        mine.attrib = dict(theirs.attrib)


def _take_text(here: Element, there: Element, tag: str) -> None:
    mine, theirs = here.find(tag), there.find(tag)
    if (mine is None) != (theirs is None):
        raise DriverError(f"the other host would boot the guest in another way: {tag}")
    if mine is not None and theirs is not None:
        mine.text = theirs.text


def _redirect_disk(disk: Element, there: Element) -> None:
    device = _attribute(disk, "target", "dev")
    match = [each for each in there.iterfind("devices/disk") if _attribute(each, "target", "dev") == device]
    source, driver = disk.find("source"), disk.find("driver")
    if not match or source is None or driver is None or disk.get("type") != "file":
        raise DriverError(f"the other host has no place for disk {device}")
    source.attrib = {"file": _attribute(match[0], "source", "file")}
    driver.set("cache", _attribute(match[0], "driver", "cache"))
    _replace(disk, match[0], "iotune")
    for backing in disk.findall("backingStore"):  # files here; each host's overlay names its own
        if len(backing):
            disk.remove(backing)


def _redirect_nic(nic: Element, there: Element) -> None:
    mac = _attribute(nic, "mac", "address")
    match = [
        each for each in there.iterfind("devices/interface") if _attribute(each, "mac", "address") == mac
    ]
    target = nic.find("target")
    if not match or target is None:
        raise DriverError(f"the other host has no tap for NIC {mac}")
    target.set("dev", _attribute(match[0], "target", "dev"))


# -- at the destination


def _check_os(there: Element, own: Element) -> None:
    for part in there.iterfind("os/*"):
        if part.tag not in _OS_PARTS or len(part):
            raise _refused(f"os/{_plain(part.tag)}")
    for tag in ("os/kernel", "os/initrd", "os/cmdline"):
        if _texts(there, tag) != _texts(own, tag):
            raise _refused(tag)
    for part in there.iterfind("os/*"):
        if part.tag not in ("kernel", "initrd", "cmdline"):
            _no_path(part)


def _check_device(device: Element, own: Element) -> None:
    if device.tag not in _DEVICES:
        raise _refused(f"device {_plain(device.tag)}")
    if device.tag == "emulator":
        directory, _, program = (device.text or "").rpartition("/")
        if program != EMULATOR or directory not in ("/usr/bin", "/usr/local/bin"):
            raise _refused("emulator")
        return
    kinds = {each.get("type") for each in own.iterfind(f"devices/{device.tag}")}
    if (
        device.tag in ("disk", "interface", "serial", "channel", "graphics")
        and device.get("type") not in kinds
    ):
        raise _refused(f"{device.tag} of type {_plain(device.get('type', ''))}")
    if device.tag == "console" and device.get("type") != "pty":
        raise _refused("console")
    if device.tag == "audio" and device.get("type") != "none":
        raise _refused("audio")
    if device.tag == "disk" and _disk(device) not in [_disk(each) for each in own.iterfind("devices/disk")]:
        raise _refused(f"disk {_plain(_attribute(device, 'target', 'dev'))}")
    if device.tag == "disk" and iotune_of(device) not in [
        iotune_of(each) for each in own.iterfind("devices/disk") if _disk(each) == _disk(device)
    ]:
        raise _refused(f"limits of disk {_plain(_attribute(device, 'target', 'dev'))}")
    if device.tag == "interface" and _nic(device) not in [
        _nic(each) for each in own.iterfind("devices/interface")
    ]:
        raise _refused(f"NIC {_plain(_attribute(device, 'mac', 'address'))}")
    logs = {each.get("file") for each in own.iterfind("devices/serial/log")}
    for part in device:
        if part.tag == "source" and device.tag == "disk":
            if set(part.attrib) != {"file"} or len(part):
                raise _refused("disk source")
        elif part.tag == "log" and device.tag in ("serial", "console"):
            if part.get("file") not in logs:
                raise _refused("console log")
        elif part.tag == "backend" and device.tag == "rng":
            if (part.get("model"), part.text) != ("random", "/dev/urandom"):
                raise _refused("rng backend")
        elif part.tag in ("listen", "backingStore"):
            if len(part) or part.attrib not in ({}, {"type": "socket"}):
                raise _refused(part.tag)
        elif part.tag in _HARMLESS_PARTS:
            _no_path(part)
        else:
            raise _refused(f"{device.tag}/{_plain(part.tag)}")
    usual = {name for each in own.iterfind(f"devices/{device.tag}") for name in each.attrib}
    if any("/" in value for value in device.attrib.values()) or (
        device.tag in _BARE and not usual.issuperset(device.attrib)
    ):
        raise _refused(f"{device.tag} with more")


def _disk(disk: Element) -> tuple[str, ...]:
    """What decides which file is opened, and as what: a guest that could have its raw disk read as qcow2
    could name any file as its backing."""
    return (
        disk.get("device", "disk"),
        _attribute(disk, "target", "dev"),
        _attribute(disk, "source", "file"),
        _attribute(disk, "driver", "name"),
        _attribute(disk, "driver", "type"),
    )


def _nic(nic: Element) -> tuple[str, ...]:
    return (
        _attribute(nic, "mac", "address").lower(),
        _attribute(nic, "target", "dev"),
        _attribute(nic, "target", "managed"),
    )


def _placement(domain: Element) -> Iterator[Element]:
    """How many processors it has, and which of the host's; where its memory is. libvirt writes the default
    placement, we do not."""
    for vcpu in domain.iterfind("vcpu"):
        vcpu.attrib.pop("placement", None)
        yield vcpu
    for tag in ("cputune", "numatune", "memoryBacking"):
        for part in domain.iterfind(tag):
            yield from part.iter()


def _words(element: Element) -> tuple[str, str, tuple[tuple[str, object], ...]]:
    """libvirt writes lists of numbers in its own way, "0-1" for "0,1"."""
    words: dict[str, object] = dict(element.attrib)
    for name in _LISTS & words.keys():
        try:
            words[name] = cpus_of(element.attrib[name])
        except ValueError as error:
            raise _refused(name) from error
    return element.tag, (element.text or "").strip(), tuple(sorted(words.items()))


def _memory_kib(element: Element) -> int:
    try:
        return int(element.text or "") * _KIB[element.get("unit", "KiB")]
    except (ValueError, KeyError) as error:
        raise _refused("memory") from error


def _no_path(part: Element) -> None:
    for element in part.iter():
        words = [*element.attrib.values(), *([] if part.tag in _WORDS_FOR_PEOPLE else [element.text or ""])]
        if any("/" in word for word in words) or "}" in element.tag:
            raise _refused(_plain(element.tag))


def _texts(element: Element, path: str) -> list[str]:
    return [each.text or "" for each in element.iterfind(path)]


def _attribute(element: Element, part: str, name: str) -> str:
    found = element.find(part)
    return "" if found is None else found.get(name, "")


def _plain(text: str) -> str:
    return ascii(text)[:60]


def _refused(what: str) -> DriverError:
    return DriverError(f"the other host sends a domain that was not asked for: {what}")
