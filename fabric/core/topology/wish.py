"""What a flavor asks of cells and devices: `hw:numa_*`, `hw:mem_page_size`, `hw:cpu_policy`,
`pci_passthrough:alias`, `hw:pci_numa_affinity_policy`. Messages in Nova's words where it has some."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from fabric.core.placement.cpu_set import format_cpu_set, parse_cpu_set
from fabric.core.placement.resources import PCPU, pinned_vcpus, says_otherwise
from fabric.core.providers.claims import claims_of
from fabric.core.servers.model import FlavorSnapshot
from fabric.core.topology.model import GUEST_CELLS_MAX, GUEST_DEVICES_MAX, Affinity

NODES, PAGES, ALIAS, AFFINITY = (
    "hw:numa_nodes",
    "hw:mem_page_size",
    "pci_passthrough:alias",
    "hw:pci_numa_affinity_policy",
)
VALUE_CHARS_MAX = 4_096  # of an extra spec that is read here
_OF_NODE = re.compile(r"hw:numa_(cpus|mem)\.([0-9]{1,4})")
_DEVICES = re.compile(r"\s*([^:,\s]{1,255})\s*:\s*([0-9]{1,4})\s*")
_PAGE = re.compile(r"([0-9]{1,9})(?:([kKMGT])i?B?)?")
_UNITS_KB = {"": 1, "k": 1, "K": 1, "M": 1 << 10, "G": 1 << 20, "T": 1 << 30}
_NAMED_PAGES = ("small", "large", "any")
_MEMORY_MB_MAX = 1 << 40
_IMAGE_PROPERTIES = {  # that say what a flavor may say
    "hw_numa_nodes": NODES,
    "hw_mem_page_size": PAGES,
    "hw_pci_numa_affinity_policy": AFFINITY,
}
_OF_NODE_BY_IMAGE = re.compile(r"hw_numa_(?:cpus|mem)\.[0-9]{1,4}")


class TopologyError(ValueError):
    """A flavor that cannot be had as it is written; the text is for whoever asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestCell:
    """One NUMA node of the guest. `page`: "" (it does not matter), "small", "large", "any", or KB as text."""

    vcpus: tuple[int, ...]
    memory_mb: int
    shared: int
    dedicated: int
    page: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopologyWish:
    """`is_explicit`: cells were asked for; where only processors of its own were, hosts that say nothing of
    cells will do. `devices`: how many, by alias. `affinity`: instead of the alias's own."""

    cells: tuple[GuestCell, ...] = ()
    is_explicit: bool = False
    devices: Mapping[str, int] = field(default_factory=dict)
    affinity: Affinity | None = None

    @property
    def key(self) -> object:
        """Equal for wishes that no host can tell apart. Can be hashed."""
        return self.cells, self.is_explicit, tuple(self.devices.items()), self.affinity


def wants_topology(specs: Mapping[str, str]) -> bool:
    """Whether a flavor with them may ask for any of this."""
    return any(key in specs for key in (NODES, PAGES, ALIAS)) or says_otherwise(specs)


def wish_of(flavor: FlavorSnapshot) -> TopologyWish | None:
    """None: it asks for none of this. Raises TopologyError."""
    specs = flavor.extra_specs
    if not wants_topology(specs):
        return None
    dedicated = claims_of(flavor).get(PCPU, 0)
    is_explicit = NODES in specs or PAGES in specs
    if not (is_explicit or dedicated or ALIAS in specs):
        return None
    cells: tuple[GuestCell, ...] = ()
    if is_explicit or dedicated:
        cells = _cells(flavor, dedicated)
    return TopologyWish(
        cells=cells,
        is_explicit=is_explicit,
        devices=devices_of(specs),
        affinity=_affinity(specs),
    )


def pinned_of(flavor: FlavorSnapshot) -> frozenset[int]:
    """The vCPUs that have a processor each: those that its policy names, or all where PCPUs are."""
    return pinned_vcpus(flavor.extra_specs, flavor.vcpus) or frozenset(range(flavor.vcpus))


def topology_fault(flavor: FlavorSnapshot, image: Mapping[str, str]) -> str | None:
    """What is wrong with it, or with the image's properties beside it; None: nothing is."""
    try:
        wish_of(flavor)
    except TopologyError as error:
        return str(error)
    specs = flavor.extra_specs
    for name in sorted(image):
        spec = _IMAGE_PROPERTIES.get(name)
        if spec is None and _OF_NODE_BY_IMAGE.fullmatch(name):
            spec = name.replace("_", ":", 1)
        if spec is None or image[name] == specs.get(spec):
            continue
        if spec in specs:
            return (
                f"Image property '{name}' is not permitted to override NUMA configuration set against "
                "the flavor"
            )
        return f"Image property {name}={image[name][:64]} needs a flavor with {spec} of that value here."
    return None


def devices_of(specs: Mapping[str, str]) -> dict[str, int]:
    """By alias, sorted. Raises TopologyError."""
    found: dict[str, int] = {}
    text = specs.get(ALIAS, "")
    for part in _bounded(ALIAS, text).split(",") if ALIAS in specs else ():
        one = _DEVICES.fullmatch(part)
        if one is None or not int(one[2]):
            raise TopologyError(
                f"Invalid PCI alias request {ALIAS}={text[:64]}; write name:count, such as gpu:1,nic:2"
            )
        found[one[1]] = found.get(one[1], 0) + int(one[2])
    if sum(found.values()) > GUEST_DEVICES_MAX:
        raise TopologyError(f"{ALIAS}: at most {GUEST_DEVICES_MAX} devices can be had by one server")
    return {alias: found[alias] for alias in sorted(found)}


def _affinity(specs: Mapping[str, str]) -> Affinity | None:
    said = specs.get(AFFINITY)
    if said is None:
        return None
    if said not in list(Affinity):
        raise TopologyError(f"{AFFINITY}={said[:64]} is invalid; it may be {', '.join(sorted(Affinity))}.")
    return Affinity(said)


# ---- cells


def _cells(flavor: FlavorSnapshot, dedicated: int) -> tuple[GuestCell, ...]:
    specs = flavor.extra_specs
    count = _count(specs)
    page = _page(specs.get(PAGES))
    named = _named(specs, count)
    if named:
        spread = _as_named(flavor, named, count)
    elif flavor.vcpus % count or flavor.memory_mb % count:
        raise TopologyError(
            "Instance CPUs and/or memory cannot be evenly distributed across instance NUMA nodes. Explicit "
            "assignment of CPUs and memory to nodes is required"
        )
    else:
        each, memory_mb = flavor.vcpus // count, flavor.memory_mb // count
        if not each:
            raise TopologyError(f"{NODES}={count}: there are only {flavor.vcpus} vCPUs to spread")
        spread = [(tuple(range(at * each, (at + 1) * each)), memory_mb) for at in range(count)]
    pinned = pinned_of(flavor) if dedicated else frozenset()
    beyond = dedicated - len(pinned)  # the emulator's own, beside the first node's
    if count > 1 and beyond < 0:
        raise TopologyError(f"{dedicated} dedicated processors are not enough for {len(pinned)} vCPUs")
    return tuple(
        GuestCell(
            vcpus=vcpus,
            memory_mb=memory_mb,
            shared=len(set(vcpus) - pinned),
            dedicated=len(pinned.intersection(vcpus)) + (beyond if at == 0 else 0),
            page=page,
        )
        for at, (vcpus, memory_mb) in enumerate(spread)
    )


def _count(specs: Mapping[str, str]) -> int:
    text = specs.get(NODES, "1")
    count = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0
    if not count:
        raise TopologyError(
            f"The property 'numa_nodes' cannot be '{text[:64]}'. It must be a number greater than 0"
        )
    if count > GUEST_CELLS_MAX:
        raise TopologyError(f"{NODES}={count} is more than a guest can have here; at most {GUEST_CELLS_MAX}")
    return count


def _named(specs: Mapping[str, str], count: int) -> dict[tuple[str, int], str]:
    """What is said of nodes, by kind and node."""
    found: dict[tuple[str, int], str] = {}
    for key in sorted(specs):
        said = _OF_NODE.fullmatch(key)
        if said is None or NODES not in specs:  # as Nova, which then does not look at them
            continue
        if int(said[2]) >= count:
            raise TopologyError(f"{key} is about a node that {NODES}={count} does not have")
        found[said[1], int(said[2])] = _bounded(key, specs[key])
    return found


def _as_named(
    flavor: FlavorSnapshot, named: Mapping[tuple[str, int], str], count: int
) -> list[tuple[tuple[int, ...], int]]:
    spread: list[tuple[tuple[int, ...], int]] = []
    taken: set[int] = set()
    for node in range(count):
        cpus, memory = named.get(("cpus", node)), named.get(("mem", node))
        if cpus is None or memory is None:
            raise TopologyError("CPU and memory allocation must be provided for all NUMA nodes")
        vcpus = _vcpus(f"hw:numa_cpus.{node}", cpus, flavor.vcpus)
        if twice := taken.intersection(vcpus):
            raise TopologyError(f"CPU number {min(twice)} is assigned to two nodes")
        taken.update(vcpus)
        if not (memory.isascii() and memory.isdigit()) or len(memory) > 12 or not int(memory):
            raise TopologyError(f"hw:numa_mem.{node}={memory[:64]} must be a number of MB greater than 0")
        spread.append((vcpus, int(memory)))
    if left := set(range(flavor.vcpus)) - taken:
        raise TopologyError(f"CPU number {format_cpu_set(left)} is not assigned to any node")
    total = sum(memory_mb for _, memory_mb in spread)
    if total != flavor.memory_mb:
        raise TopologyError(f"{total} MB of memory assigned, but expected {flavor.memory_mb} MB")
    return spread


def _vcpus(key: str, text: str, of_all: int) -> tuple[int, ...]:
    try:
        found = sorted(parse_cpu_set(text))
    except ValueError as error:
        raise TopologyError(f"{key}: {error}") from error
    if not found:
        raise TopologyError(f"{key}={text[:64]} names no vCPU")
    if found[-1] >= of_all:
        raise TopologyError(f"CPU number {found[-1]} is larger than max {of_all - 1}")
    return tuple(found)


def _page(text: str | None) -> str:
    if text is None or text in _NAMED_PAGES:
        return text or ""
    found = _PAGE.fullmatch(text)
    if found is None or not int(found[1]):
        raise TopologyError(f"Invalid memory page size '{text[:64]}'")
    return str(int(found[1]) * _UNITS_KB[found[2] or ""])


def _bounded(key: str, text: str) -> str:
    if len(text) > VALUE_CHARS_MAX:
        raise TopologyError(f"{key} is longer than {VALUE_CHARS_MAX} characters")
    return text
