"""SimpleCIDRAffinityFilter: the hints `build_near_host_ip` and `cidr` name a network of hosts' addresses."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from fabric.core.placement.changes import Change, without_hints
from fabric.core.placement.filters.contract import Refusal
from fabric.core.placement.host_table import HostTable, Mask
from fabric.core.placement.request import PlacementRequest

NEAR, WIDTH = "build_near_host_ip", "cidr"
WIDTH_DEFAULT = "/24"  # Nova's

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class SimpleCIDRAffinityFilter:
    name = "SimpleCIDRAffinityFilter"

    def applies(self, request: PlacementRequest, table: HostTable) -> bool:
        return bool(request.hints.get(NEAR))

    def passes(self, request: PlacementRequest, table: HostTable) -> Mask:
        network = _network(request)
        return table.mask(("cidr", network), lambda facts: _is_in(facts.host.address, network))

    def refusal(self, request: PlacementRequest, table: HostTable, place: int) -> Refusal:
        address = table.hosts[place].host.address
        return Refusal(
            filter_name=self.name,
            reason="in another network",
            remark=f"has {address}, which is not in {_network(request) or request.hints[NEAR][0]}",
        )

    def cures(self, request: PlacementRequest, table: HostTable, place: int) -> Iterable[Change]:
        yield without_hints(*(name for name in (NEAR, WIDTH) if name in request.hints))


def _network(request: PlacementRequest) -> Network | None:
    """None: the hints name none, and no host is in it."""
    width = (request.hints.get(WIDTH) or (WIDTH_DEFAULT,))[0]
    try:
        return ipaddress.ip_network(request.hints[NEAR][0] + width, strict=False)
    except ValueError:
        return None


def _is_in(address: str, network: Network | None) -> bool:
    try:
        return network is not None and ipaddress.ip_address(address) in network
    except ValueError:
        return False
