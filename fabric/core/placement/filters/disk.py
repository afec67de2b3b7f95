"""DiskFilter: root, ephemeral and swap disks fit under the allocation ratio."""

from __future__ import annotations

from fabric.core.placement.claim import claim_of
from fabric.core.placement.filters.contract import Refusal
from fabric.core.placement.host_table import HostView
from fabric.core.servers.model import Server

NAME = "DiskFilter"


def disk_filter(server: Server, view: HostView) -> Refusal | None:
    """Thin overlays may outgrow a ratio above 1; the operator who sets one has chosen so."""
    needed = claim_of(server.flavor).disk_gb
    free = view.free.disk_gb
    if needed <= free:
        return None
    return Refusal(filter_name=NAME, reason="not enough disk", needed=needed, free=free, unit="GB of disk")
