"""ComputeFilter: the host's service is enabled and up."""

from __future__ import annotations

from fabric.core.placement.filters.contract import Refusal
from fabric.core.placement.host_table import HostView
from fabric.core.servers.model import Server

NAME = "ComputeFilter"


def compute_filter(server: Server, view: HostView) -> Refusal | None:
    """Up means: the membership table says so, and no admin has forced it down."""
    host = view.host
    if not host.enabled:
        return Refusal(
            filter_name=NAME,
            reason="disabled",
            remark=f"is disabled: {host.disabled_reason}" if host.disabled_reason else "is disabled",
        )
    if host.forced_down:
        return Refusal(filter_name=NAME, reason="down", remark="is forced down")
    if not view.is_alive:
        state = view.state.value if view.state is not None else "not in the membership table"
        return Refusal(filter_name=NAME, reason="down", remark=f"is not alive: {state}")
    return None
