"""PCIWeigher: who asks for devices goes where few are left over, who asks for none where there are none."""

from __future__ import annotations

from fabric.core.placement.filters.pci_passthrough import KEY
from fabric.core.placement.host_table import HostTable, Ints
from fabric.core.placement.request import PlacementRequest


class PCIWeigher:
    name = "PCIWeigher"
    setting = "pci_weight_multiplier"
    multiplier = 1.0

    def column(self, request: PlacementRequest, table: HostTable) -> Ints | None:
        free: Ints = table.column("pci free", lambda facts: sum(facts.pci_free.values()), int)
        if not free.any():
            return None
        if KEY in request.flavor.extra_specs:
            return -free
        none_there: Ints = (free == 0).astype("int64")
        return none_there
