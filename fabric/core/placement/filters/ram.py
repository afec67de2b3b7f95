"""RamFilter: the memory asked for is free under the allocation ratio."""

from __future__ import annotations

from fabric.core.placement.claim import claim_of
from fabric.core.placement.filters.contract import Refusal
from fabric.core.placement.host_table import HostView
from fabric.core.servers.model import Server

NAME = "RamFilter"


def ram_filter(server: Server, view: HostView) -> Refusal | None:
    """A server never overcommits against itself: it must fit the host's real memory too. Source: Nova."""
    needed = claim_of(server.flavor).memory_mb
    free = min(view.free.memory_mb, view.host.memory_mb)
    if needed <= free:
        return None
    return Refusal(
        filter_name=NAME, reason="not enough memory", needed=needed, free=free, unit="MB of memory"
    )
