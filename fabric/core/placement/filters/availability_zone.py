"""AvailabilityZoneFilter: the host is in the zone asked for, if one was."""

from __future__ import annotations

from fabric.core.placement.filters.contract import Refusal
from fabric.core.placement.host_table import HostView
from fabric.core.servers.model import Server

NAME = "AvailabilityZoneFilter"


def availability_zone_filter(server: Server, view: HostView) -> Refusal | None:
    wanted = server.zone_wanted
    if wanted is None or wanted == view.host.zone:
        return None
    return Refusal(
        filter_name=NAME,
        reason="in another availability zone",
        remark=f"is in zone {view.host.zone}, not {wanted}",
    )
