"""ComputeCapabilitiesFilter: what the host is, against the flavor's extra specs `capabilities:...`.

In Nova an extra spec without a scope is tried against the host and, by another filter, against aggregates,
so that both cannot be used at once. Here it is the host's matter when it names something that hosts have
(`KNOWN`), and the aggregates' when not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from fabric.core.placement.changes import Change, without_extra_specs
from fabric.core.placement.filters.contract import Refusal
from fabric.core.placement.host_facts import HostFacts
from fabric.core.placement.host_table import HostTable, Mask
from fabric.core.placement.operators import matches
from fabric.core.placement.request import PlacementRequest
from fabric.core.placement.resources import DISK_GB, MEMORY_MB, VCPU

SCOPE = "capabilities:"

KNOWN: Mapping[str, Callable[[HostFacts], object]] = {  # Nova's HostState attributes
    "hypervisor_type": lambda facts: facts.host.hypervisor_type,
    "hypervisor_version": lambda facts: facts.host.hypervisor_version,
    "hypervisor_hostname": lambda facts: facts.host.name,
    "host": lambda facts: facts.host.name,
    "cpu_info:arch": lambda facts: facts.host.arch,
    "vcpus_total": lambda facts: facts.host.vcpus,
    "vcpus_used": lambda facts: facts.used.get(VCPU, 0),
    "total_usable_ram_mb": lambda facts: facts.host.memory_mb,
    "free_ram_mb": lambda facts: facts.host.memory_mb - facts.used.get(MEMORY_MB, 0),
    "total_usable_disk_gb": lambda facts: facts.host.disk_gb,
    "free_disk_mb": lambda facts: (facts.host.disk_gb - facts.used.get(DISK_GB, 0)) * 1024,
    "num_instances": lambda facts: facts.servers,
    "num_io_ops": lambda facts: facts.io_ops,
}


class ComputeCapabilitiesFilter:
    name = "ComputeCapabilitiesFilter"

    def applies(self, request: PlacementRequest, table: HostTable) -> bool:
        return bool(_wanted(request))

    def passes(self, request: PlacementRequest, table: HostTable) -> Mask:
        passing: Mask = np.ones(len(table), dtype=np.bool_)
        for _, name, value in _wanted(request):
            passing &= table.mask(
                ("capability", name, value),
                lambda facts, n=name, v=value: _has(facts, n, v),  # type: ignore[misc]
            )
        return passing

    def refusal(self, request: PlacementRequest, table: HostTable, place: int) -> Refusal:
        facts = table.hosts[place]
        wrong = [(name, value) for _, name, value in _wanted(request) if not _has(facts, name, value)]
        parts = [
            f"{name} is {KNOWN[name](facts)}, not {value}" if name in KNOWN else f"has no {name}"
            for name, value in wrong
        ]
        return Refusal(filter_name=self.name, reason="capabilities do not match", remark=", ".join(parts))

    def cures(self, request: PlacementRequest, table: HostTable, place: int) -> Iterable[Change]:
        facts = table.hosts[place]
        yield without_extra_specs(
            *(key for key, name, value in _wanted(request) if not _has(facts, name, value))
        )


def _wanted(request: PlacementRequest) -> list[tuple[str, str, str]]:
    """(extra spec, capability, value)."""
    if not request.flavor.extra_specs:
        return []
    return [
        (key, key.removeprefix(SCOPE), value)
        for key, value in sorted(request.flavor.extra_specs.items())
        if key.startswith(SCOPE) or key in KNOWN
    ]


def _has(facts: HostFacts, name: str, value: str) -> bool:
    known = KNOWN.get(name)
    return known is not None and matches(str(known(facts)), value)
