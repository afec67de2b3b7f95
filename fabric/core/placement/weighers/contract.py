"""What a weigher is: a name from Nova, a multiplier, and one number a host; more is better."""

from __future__ import annotations

from typing import Protocol

from fabric.core.placement.host_table import Floats, HostTable, Ints, Mask
from fabric.core.placement.request import PlacementRequest


class HostWeigher(Protocol):
    """`multiplier`: the default one; below 0 less is better. `setting`: its name in Nova's configuration, and
    in the metadata of an aggregate that wants another one for its hosts. `minval`, `maxval`: the ends that
    numbers are held between and stretched from and to; None: those among the candidates."""

    name: str
    setting: str
    multiplier: float
    minval: float | None
    maxval: float | None

    def column(self, request: PlacementRequest, table: HostTable) -> Ints | Floats | Mask | None:
        """Of each host. None: it makes no difference for this request."""
        ...
