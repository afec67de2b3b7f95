"""CoreFilter: the vCPUs asked for are free under the allocation ratio."""

from __future__ import annotations

from fabric.core.placement.claim import claim_of
from fabric.core.placement.filters.contract import Refusal
from fabric.core.placement.host_table import HostView
from fabric.core.servers.model import Server

NAME = "CoreFilter"


def core_filter(server: Server, view: HostView) -> Refusal | None:
    """A server never overcommits against itself: it must fit the host's real processors too. Source: Nova."""
    needed = claim_of(server.flavor).vcpus
    free = min(view.free.vcpus, view.host.vcpus)
    if needed <= free:
        return None
    return Refusal(filter_name=NAME, reason="not enough vCPUs", needed=needed, free=free, unit="vCPUs")
