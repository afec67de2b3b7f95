"""PciPassthroughFilter: the devices that the flavor asks for by alias are free (`pci_passthrough:alias` =
"gpu:2,nic:1")."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from fabric.core.placement.changes import Change, other_host, without_extra_specs
from fabric.core.placement.filters.contract import Refusal
from fabric.core.placement.host_table import HostTable, Ints, Mask
from fabric.core.placement.request import PlacementRequest

KEY = "pci_passthrough:alias"
_ONE = re.compile(r"\s*([^:,\s]+)\s*:\s*(\d{1,4})\s*")


class PciPassthroughFilter:
    name = "PciPassthroughFilter"

    def applies(self, request: PlacementRequest, table: HostTable) -> bool:
        return KEY in request.flavor.extra_specs

    def passes(self, request: PlacementRequest, table: HostTable) -> Mask:
        asked = devices(request)
        if asked is None:
            return np.zeros(len(table), dtype=np.bool_)
        passing: Mask = np.ones(len(table), dtype=np.bool_)
        for alias, count in asked.items():
            passing &= _free(table, alias) >= count
        return passing

    def refusal(self, request: PlacementRequest, table: HostTable, place: int) -> Refusal:
        asked, free = devices(request), table.hosts[place].pci_free
        if asked is None:
            remark = f"cannot read {KEY}={request.flavor.extra_specs[KEY]}"
            return Refusal(filter_name=self.name, reason="no such PCI device", remark=remark)
        alias, count = next((alias, count) for alias, count in asked.items() if free.get(alias, 0) < count)
        return Refusal(
            filter_name=self.name,
            reason=f"not enough PCI devices {alias}",
            needed=count,
            free=free.get(alias, 0),
            unit=f"devices {alias}",
        )

    def cures(self, request: PlacementRequest, table: HostTable, place: int) -> Iterable[Change]:
        yield without_extra_specs(KEY)
        facts, asked = table.hosts[place], devices(request)
        if asked is not None:
            more = {a: n - facts.pci_free.get(a, 0) for a, n in asked.items() if facts.pci_free.get(a, 0) < n}
            said = " and ".join(f"{count} more {alias}" for alias, count in more.items())
            yield other_host(
                f"{facts.host.name} had {said}",
                facts,
                more,
                lambda now: replace(now, pci_free={**now.pci_free, **asked}),
            )


def _free(table: HostTable, alias: str) -> Ints:
    return table.column(("pci", alias), lambda facts: facts.pci_free.get(alias, 0), int)


def devices(request: PlacementRequest) -> dict[str, int] | None:
    """By alias. None: it cannot be read."""
    found: dict[str, int] = {}
    for part in request.flavor.extra_specs[KEY].split(","):
        one = _ONE.fullmatch(part)
        if one is None:
            return None
        found[one[1]] = found.get(one[1], 0) + int(one[2])
    return found
