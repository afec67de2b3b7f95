"""How much of its host a domain may use, in libvirt's words. Pure, as `domain_xml` of which it is a part.

Elements stand in the order in which libvirt writes them. Source: libvirt.org/formatdomain.html, "CPU Tuning"
and "Hard drives" (iotune). Where there is no cgroup, libvirt 9.0 drops processor shares without a word, and
tells of the others only when a guest starts: so the driver itself refuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from drivers.contract import CpuLimits, DiskLimit
from proto.errors import DriverError

_WAYS, _UNITS = ("total", "read", "write"), ("bytes", "iops")


def limit_processors(root: ElementTree.Element, limits: CpuLimits | None, *, is_able: bool) -> None:
    """Call it when pins, if any, are there. `is_able`: the host has the cgroups for it."""
    if limits is None:
        return
    if not is_able:
        raise DriverError("this host cannot limit processors: libvirt has no cgroup to do it with")
    tune = root.find("cputune")
    if tune is None:
        tune = ElementTree.SubElement(root, "cputune")
    words = {"shares": limits.shares, "period": limits.period_us, "quota": limits.quota_us}
    for place, (name, number) in enumerate((name, number) for name, number in words.items() if number):
        element = ElementTree.Element(name)
        element.text = str(number)
        tune.insert(place, element)


def limit_disk(disk: ElementTree.Element, limits: Sequence[DiskLimit]) -> None:
    """Raises DriverError: they do not go together."""
    if not limits:
        return
    _check(limits)
    known = {(limit.unit, limit.way): limit for limit in limits}
    ordered = [known[unit, way] for unit in _UNITS for way in _WAYS if (unit, way) in known]
    words: list[tuple[str, int]] = [(f"{limit.way}_{limit.unit}_sec", limit.per_s) for limit in ordered]
    words += [(f"{limit.way}_{limit.unit}_sec_max", limit.burst) for limit in ordered]
    words += [(f"{limit.way}_{limit.unit}_sec_max_length", limit.burst_s) for limit in ordered]
    tune = ElementTree.SubElement(disk, "iotune")
    for name, number in words:
        if number:
            ElementTree.SubElement(tune, name).text = str(number)


def iotune_of(disk: ElementTree.Element) -> list[tuple[str, str]]:
    """What a disk is held to, in no order of libvirt's. Of a burst without a length QEMU says one second."""
    found = [(part.tag, (part.text or "").strip()) for part in disk.iterfind("iotune/*")]
    return sorted(each for each in found if not (each[0].endswith("_max_length") and each[1] == "1"))


def _check(limits: Sequence[DiskLimit]) -> None:
    for limit in limits:
        if limit.way not in _WAYS or limit.unit not in _UNITS or limit.per_s <= 0:
            raise DriverError(
                f"a disk cannot be held to {limit.per_s} {limit.way[:20]} {limit.unit[:20]} a second"
            )
    for unit in _UNITS:
        ways = [limit.way for limit in limits if limit.unit == unit]
        if len(set(ways)) < len(ways) or ("total" in ways and len(ways) > 1):
            raise DriverError(f"a disk's limits of {unit} are either of all together, or of reads and writes")
