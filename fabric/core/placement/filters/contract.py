"""What a filter is: a name from Nova and a test that says why not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from fabric.core.placement.host_table import HostView
from fabric.core.servers.model import Server


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


class Filter(Protocol):
    def __call__(self, server: Server, view: HostView) -> Refusal | None:
        """None: this host will do."""
        ...
