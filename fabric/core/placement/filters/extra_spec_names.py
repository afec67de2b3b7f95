"""ExtraSpecNamesFilter: a flavor that asks for what nothing can be called is had by no host.

Nova sends such names on to Placement, which refuses the request, and no host is found; to pass over them
would put the server where it was not to be. Source: Placement's schemas of resource classes and traits.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from fabric.core.placement.changes import Change, without_extra_specs
from fabric.core.placement.filters.contract import Refusal
from fabric.core.placement.host_table import HostTable, Mask
from fabric.core.placement.request import PlacementRequest


class ExtraSpecNamesFilter:
    name = "ExtraSpecNamesFilter"

    def applies(self, request: PlacementRequest, table: HostTable) -> bool:
        return bool(request.misnamed)

    def passes(self, request: PlacementRequest, table: HostTable) -> Mask:
        return np.zeros(len(table), dtype=np.bool_)

    def refusal(self, request: PlacementRequest, table: HostTable, place: int) -> Refusal:
        names = ", ".join(name[:64] for name in request.misnamed)
        return Refusal(
            filter_name=self.name,
            reason=f"extra spec {names}: a resource class or trait is named in capital letters, digits and _",
            remark=f"nothing can be called as extra spec {names} says",
        )

    def cures(self, request: PlacementRequest, table: HostTable, place: int) -> Iterable[Change]:
        yield without_extra_specs(*request.misnamed)
