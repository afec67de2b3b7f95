"""NUMATopologyFilter: the guest's NUMA nodes fit the host's, one beside the other.

What asks for a topology, and how processors and memory are spread over its nodes: Nova's "CPU topologies" and
`hw:numa_*` extra specs. A guest without any of them may be anywhere. One that only wants dedicated processors
gets them of one node; where a host says nothing of its nodes its PCPUs are counted and no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fabric.core.placement.changes import Change, without_extra_specs
from fabric.core.placement.filters.contract import Refusal
from fabric.core.placement.host_facts import HostFacts, NumaCell
from fabric.core.placement.host_table import HostTable, Mask
from fabric.core.placement.request import PlacementRequest
from fabric.core.placement.resources import CPU_POLICY

NODES, POLICY, PAGES = "hw:numa_nodes", CPU_POLICY, "hw:mem_page_size"
NODES_MAX = 16
_PAGE_KB = {"small": 4, "large": 2_048, "any": 0}


@dataclass(frozen=True, slots=True)
class GuestCell:
    cpus: int
    memory_mb: int
    page_kb: int  # 0: any


class NUMATopologyFilter:
    name = "NUMATopologyFilter"

    def applies(self, request: PlacementRequest, table: HostTable) -> bool:
        specs = request.flavor.extra_specs
        return NODES in specs or PAGES in specs or specs.get(POLICY) == "dedicated"

    def passes(self, request: PlacementRequest, table: HostTable) -> Mask:
        cells, silent_is_fine = guest_cells(request), _is_only_dedicated(request)

        def suits(facts: HostFacts) -> bool:
            if silent_is_fine and not facts.numa:
                return True
            return cells is not None and fits(cells, facts.numa)

        return table.mask(("numa", cells, silent_is_fine), suits)

    def refusal(self, request: PlacementRequest, table: HostTable, place: int) -> Refusal:
        cells = guest_cells(request)
        if cells is None:
            remark = "cannot be asked for such NUMA nodes"
        elif not table.hosts[place].numa:
            remark = "says nothing of its NUMA nodes"
        else:
            remark = (
                f"has no room for {len(cells)} NUMA nodes of {cells[0].cpus} CPUs and {cells[0].memory_mb} MB"
            )
        return Refusal(filter_name=self.name, reason="NUMA nodes do not fit", remark=remark)

    def cures(self, request: PlacementRequest, table: HostTable, place: int) -> Iterable[Change]:
        yield without_extra_specs(
            *(
                key
                for key in request.flavor.extra_specs
                if key.startswith("hw:numa") or key in (POLICY, PAGES)
            )
        )


def _is_only_dedicated(request: PlacementRequest) -> bool:
    return NODES not in request.flavor.extra_specs and PAGES not in request.flavor.extra_specs


def guest_cells(request: PlacementRequest) -> tuple[GuestCell, ...] | None:
    """None: the flavor cannot be spread like that."""
    specs, flavor = request.flavor.extra_specs, request.flavor
    text = specs.get(NODES, "1")
    count = int(text) if text.isascii() and text.isdigit() and len(text) < 4 else 0
    if not 1 <= count <= NODES_MAX:
        return None
    page_kb = _page_kb(specs.get(PAGES, "any"))
    if page_kb is None:
        return None
    cells = []
    for node in range(count):
        cpus, memory = specs.get(f"hw:numa_cpus.{node}"), specs.get(f"hw:numa_mem.{node}")
        even = flavor.vcpus // count, flavor.memory_mb // count
        if cpus is None and memory is None and (flavor.vcpus % count or flavor.memory_mb % count):
            return None
        named = len(_cpu_set(cpus)) if cpus is not None else even[0]
        held = int(memory) if memory is not None and memory.isascii() and memory.isdigit() else even[1]
        cells.append(GuestCell(named, held, page_kb))
    if (
        sum(cell.cpus for cell in cells) != flavor.vcpus
        or sum(c.memory_mb for c in cells) != flavor.memory_mb
    ):
        return None
    return tuple(cells)


def fits(cells: Sequence[GuestCell], host: Sequence[NumaCell]) -> bool:
    """Whether each guest node has a host node of its own. The largest first, each into the smallest that
    takes it: of nodes that can be ordered by what they have, that finds a way if there is one; where
    processors and memory disagree it may miss one, and refuses."""
    left = sorted(host, key=lambda cell: (cell.memory_mb_free, cell.cpus_free))
    for cell in sorted(cells, key=lambda cell: (-cell.memory_mb, -cell.cpus)):
        chosen = next((each for each in left if _takes(each, cell)), None)
        if chosen is None:
            return False
        left.remove(chosen)
    return True


def _takes(host: NumaCell, cell: GuestCell) -> bool:
    has_pages = cell.page_kb == 0 or cell.page_kb in host.page_kb
    return host.cpus_free >= cell.cpus and host.memory_mb_free >= cell.memory_mb and has_pages


def _page_kb(value: str) -> int | None:
    if value in _PAGE_KB:
        return _PAGE_KB[value]
    units = {"kb": 1, "mb": 1_024, "gb": 1_048_576}
    number, unit = value[:-2], value[-2:].lower()
    if unit in units and number.isascii() and number.isdigit():
        return int(number) * units[unit]
    return int(value) if value.isascii() and value.isdigit() and value else None


def _cpu_set(text: str) -> set[int]:
    """ "0-2,4": four. Nothing for what cannot be read."""
    found: set[int] = set()
    for part in text.split(","):
        low, _, high = part.strip().partition("-")
        if not low.isdigit() or (high and not high.isdigit()) or int(high or low) > 4_096:
            return set()
        found.update(range(int(low), int(high or low) + 1))
    return found
