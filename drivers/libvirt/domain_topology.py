"""A guest's NUMA nodes and PCI devices in libvirt's words. Pure, as `domain_xml` of which it is a part.

Each node's memory is bound to its cell (`strict`): what does not fit there is refused at the start, rather
than somewhere else. A vCPU that has no processor for itself runs on its cell's shared ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from xml.etree import ElementTree

from drivers.contract import DomainSpec
from proto.errors import DriverError

SMALL_PAGE_KB = 4
_ADDRESS = re.compile(r"([0-9a-f]{4,8}):([0-9a-f]{2}):([01][0-9a-f])\.([0-7])")


def check_nodes(spec: DomainSpec) -> None:
    """Raises DriverError: its nodes are not all of the guest."""
    if not spec.nodes:
        return
    named = sorted(vcpu for node in spec.nodes for vcpu in node.vcpus)
    if named != list(range(spec.vcpus)) or sum(node.memory_mb for node in spec.nodes) != spec.memory_mb:
        raise DriverError("the NUMA nodes of the guest are not all of its vCPUs and memory")


def floating(spec: DomainSpec) -> dict[int, tuple[int, ...]]:
    """By vCPU: the host's processors that it may run on, of those that have none for themselves."""
    return {vcpu: node.cpu_set for node in spec.nodes for vcpu in node.vcpus if node.cpu_set}


def memory_binding(root: ElementTree.Element, spec: DomainSpec) -> None:
    """Which cells the nodes' memory comes from, and in pages of which size."""
    if not spec.nodes:
        return
    tune = ElementTree.SubElement(root, "numatune")
    cells = cpu_list(node.cell_id for node in spec.nodes)
    ElementTree.SubElement(tune, "memory", mode="strict", nodeset=cells)
    for number, node in enumerate(spec.nodes):
        ElementTree.SubElement(tune, "memnode", cellid=str(number), mode="strict", nodeset=str(node.cell_id))
    by_size: dict[int, list[int]] = {}
    for number, node in enumerate(spec.nodes):
        if node.page_kb > SMALL_PAGE_KB:
            by_size.setdefault(node.page_kb, []).append(number)
    if by_size:
        backing = ElementTree.SubElement(ElementTree.SubElement(root, "memoryBacking"), "hugepages")
        for size_kb, numbers in sorted(by_size.items()):
            size = {"size": str(size_kb), "unit": "KiB", "nodeset": cpu_list(numbers)}
            ElementTree.SubElement(backing, "page", size)


def guest_nodes(cpu: ElementTree.Element, spec: DomainSpec) -> None:
    """What the guest sees of them."""
    if not spec.nodes:
        return
    numa = ElementTree.SubElement(cpu, "numa")
    for number, node in enumerate(spec.nodes):
        seen = {"id": str(number), "cpus": cpu_list(node.vcpus), "memory": str(node.memory_mb), "unit": "MiB"}
        ElementTree.SubElement(numa, "cell", seen)


def host_devices(devices: ElementTree.Element, spec: DomainSpec) -> None:
    """`managed`: libvirt takes each from its driver for as long as the guest runs."""
    for address in spec.devices:
        found = _ADDRESS.fullmatch(address)
        if found is None:
            raise DriverError(f"{address[:40]!r} is not the address of a PCI device")
        device = ElementTree.SubElement(devices, "hostdev", mode="subsystem", type="pci", managed="yes")
        source = ElementTree.SubElement(device, "source")
        parts = dict(zip(("domain", "bus", "slot", "function"), found.groups(), strict=True))
        ElementTree.SubElement(source, "address", {name: f"0x{part}" for name, part in parts.items()})


def cpu_list(cpus: Iterable[int]) -> str:
    return ",".join(map(str, sorted(set(cpus))))
