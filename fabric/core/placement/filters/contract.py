"""What a filter is: a name from Nova, one comparison over all hosts, and the words for why not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from fabric.core.placement.changes import Change
from fabric.core.placement.host_table import HostTable, Mask
from fabric.core.placement.request import PlacementRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a host cannot take a server.

    `reason` names the kind of refusal for people, in words that fit after a count of hosts
    ("not enough memory"). `needed` and `free` are in `unit`; None where nothing is counted.
    `remark` is the detail for admins, used where there is nothing to count.
    """

    filter_name: str
    reason: str
    needed: int | None = None
    free: int | None = None
    unit: str = ""
    remark: str = ""


class Asked(Protocol):
    """Who passes, and no words about it. Pure: the answer is of the request and the table alone."""

    def applies(self, request: PlacementRequest, table: HostTable) -> bool:
        """False: every host passes, and nobody looks."""
        ...

    def passes(self, request: PlacementRequest, table: HostTable) -> Mask:
        """Of each host. The mask may be the table's own: it must not be written to."""
        ...


class HostFilter(Asked, Protocol):
    name: str

    def refusal(self, request: PlacementRequest, table: HostTable, place: int) -> Refusal:
        """Of a host that does not pass."""
        ...

    def cures(self, request: PlacementRequest, table: HostTable, place: int) -> Iterable[Change]:
        """What might let that host pass, the least first. Each is tried before anybody hears of it."""
        ...
