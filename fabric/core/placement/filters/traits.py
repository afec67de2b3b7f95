"""TraitsFilter: the host has every trait that is required and none that is forbidden. Source: Placement.

A host is one provider, so it gives the resources of numbered groups, too, and must have the traits that these
require and none that they forbid.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from fabric.core.placement.changes import Change, other_host, without_extra_specs, without_image_properties
from fabric.core.placement.filters.contract import Refusal
from fabric.core.placement.host_table import HostTable, Mask
from fabric.core.placement.request import PlacementRequest
from fabric.core.placement.resources import CPU_LIMITS
from fabric.core.servers.guest_limits import cpu_limit_names


class TraitsFilter:
    name = "TraitsFilter"

    def applies(self, request: PlacementRequest, table: HostTable) -> bool:
        return bool(request.resources.required() or request.resources.forbidden())

    def passes(self, request: PlacementRequest, table: HostTable) -> Mask:
        masks = [_has(table, trait) for trait in request.resources.required()]
        masks += [~_has(table, trait) for trait in request.resources.forbidden()]
        return masks[0] if len(masks) == 1 else np.logical_and.reduce(masks)

    def refusal(self, request: PlacementRequest, table: HostTable, place: int) -> Refusal:
        missing, unwanted = self._wrong(request, table, place)
        parts = [f"has not {name}" for name in missing] + [f"has {name}" for name in unwanted]
        return Refusal(filter_name=self.name, reason="traits do not match", remark=", ".join(parts))

    def _wrong(self, request: PlacementRequest, table: HostTable, place: int) -> tuple[list[str], list[str]]:
        held = table.hosts[place].traits
        return sorted(request.resources.required() - held), sorted(request.resources.forbidden() & held)

    def cures(self, request: PlacementRequest, table: HostTable, place: int) -> Iterable[Change]:
        missing, unwanted = self._wrong(request, table, place)
        wrong = {*missing, *unwanted}
        specs = [key for key in request.flavor.extra_specs if key.rpartition(":")[2] in wrong]
        if CPU_LIMITS in missing:
            specs += cpu_limit_names(request.flavor.extra_specs)
        properties = [key for key in request.image_properties if key.rpartition(":")[2] in wrong]
        if specs:
            yield without_extra_specs(*specs)
        elif properties:
            yield without_image_properties(*properties)
        facts = table.hosts[place]
        words = [f"had {name}" for name in missing] + [f"had not {name}" for name in unwanted]
        yield other_host(
            f"{facts.host.name} {' and '.join(words)}",
            facts,
            {"with": missing, "without": unwanted},
            lambda now: replace(now, traits=now.traits.union(missing).difference(unwanted)),
        )


def _has(table: HostTable, trait: str) -> Mask:
    return table.mask(("trait", trait), lambda facts: trait in facts.traits)
