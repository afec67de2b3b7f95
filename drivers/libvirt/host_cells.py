"""The machine's NUMA cells as libvirt's capabilities tell them, with memory as the kernel counts it.

libvirt's own figure of a cell's memory leaves out what was plugged in later. Where there is one cell it has
all that /proc/meminfo tells; of several each has what its own `meminfo` does.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from drivers.contract import NumaCell
from proto.errors import DriverError

MEMINFO = Path("/proc/meminfo")
NODES = Path("/sys/devices/system/node")
CELLS_MAX = 1_024  # the kernel's MAX_NUMNODES
SMALL_PAGE_KB = 4


def numa_cells(
    capabilities_xml: str, *, meminfo: Path = MEMINFO, nodes: Path = NODES
) -> tuple[NumaCell, ...]:
    """In the order of their numbers; those without processors are left out. None where libvirt tells of none.

    Raises DriverError: it is not what libvirt says.
    """
    try:
        host = ElementTree.fromstring(capabilities_xml)  # noqa: S314 - libvirt wrote it
        told = host.findall("./host/topology/cells/cell")
        if len(told) > CELLS_MAX:
            raise ValueError(f"{len(told)} cells")
        is_alone = len(told) == 1
        cells = [
            _cell(each, meminfo if is_alone else nodes / f"node{each.get('id')}" / "meminfo") for each in told
        ]
    except (ElementTree.ParseError, ValueError, TypeError, KeyError) as error:
        raise DriverError(f"libvirt's capabilities cannot be read: {error}") from error
    return tuple(sorted((cell for cell in cells if cell.cpus), key=lambda cell: cell.cell_id))


def memory_kb(meminfo: Path) -> int | None:
    """`MemTotal` of the machine, or of one node ("Node 0 MemTotal: ..."). None: it does not say."""
    try:
        lines = meminfo.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, rest = line.partition(":")
        if name.split()[-1:] == ["MemTotal"]:
            return int(rest.split()[0])
    return None


def _cell(cell: ElementTree.Element, meminfo: Path) -> NumaCell:
    cpus = [each for each in cell.iterfind("cpus/cpu") if each.get("siblings") is not None]  # else offline
    cores = {_numbers(each.attrib["siblings"]) for each in cpus}
    pages = {int(each.attrib["size"]): int(each.text or "0") for each in cell.iterfind("pages")}
    huge = {size: count for size, count in pages.items() if size > SMALL_PAGE_KB and count}
    told_kb = cell.findtext("memory")
    total_kb = memory_kb(meminfo) or int(told_kb or "0")
    small_kb = max(0, total_kb - sum(size * count for size, count in huge.items()))
    return NumaCell(
        cell_id=int(cell.attrib["id"]),
        memory_mb=small_kb >> 10,
        cpus=tuple(sorted(int(each.attrib["id"]) for each in cpus)),
        cores=tuple(sorted(cores)),
        pages=huge,
        socket=min((int(each.get("socket_id", "0")) for each in cpus), default=0),
        distances={
            int(each.attrib["id"]): int(each.attrib["value"]) for each in cell.iterfind("distances/sibling")
        },
    )


def _numbers(text: str) -> tuple[int, ...]:
    """libvirt's "0-1,4". Raises ValueError."""
    found: set[int] = set()
    for part in text.split(","):
        low, _, high = part.partition("-")
        found.update(range(int(low), int(high or low) + 1))
    return tuple(sorted(found))
