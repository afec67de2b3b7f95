"""PCIWeigher: a server goes where few devices are free, so that they stay for those who need them."""

from __future__ import annotations

import numpy as np

from fabric.core.placement.host_facts import HostFacts
from fabric.core.placement.host_table import HostTable, Ints
from fabric.core.placement.request import PlacementRequest
from fabric.core.topology.facts import count_devices

DEVICES_MAX = 100  # above so many there is no shortage. Source: Nova's `scheduler/weights/pci.py`


class PCIWeigher:
    name = "PCIWeigher"
    setting = "pci_weight_multiplier"
    multiplier = 1.0
    minval: float | None = None
    maxval: float | None = None

    def column(self, request: PlacementRequest, table: HostTable) -> Ints | None:
        free: Ints = table.column("pci free", _free, int)
        if not np.count_nonzero(free):
            return None
        few: Ints = DEVICES_MAX - np.minimum(free, DEVICES_MAX - 1)
        return few


def _free(facts: HostFacts) -> int:
    """By what was told and given, without a look at each device: it only steers."""
    told = count_devices(facts.told.facts)
    return max(0, told - sum(len(grant.devices) for grant in facts.held.values())) if told else 0
