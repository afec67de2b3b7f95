"""RequestedHost: an admin named the host ("zone:host", or `host` from microversion 2.74)."""

from __future__ import annotations

from fabric.core.placement.filters.contract import Refusal
from fabric.core.placement.host_table import HostView
from fabric.core.servers.model import Server

NAME = "RequestedHost"


def requested_host_filter(server: Server, view: HostView) -> Refusal | None:
    wanted = server.host_wanted
    if wanted is None or wanted == view.host.name:
        return None
    return Refusal(filter_name=NAME, reason="not the host asked for", remark=f"is not {wanted}")
