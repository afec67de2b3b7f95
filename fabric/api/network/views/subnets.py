"""A subnet as Neutron shows it."""

from __future__ import annotations

from typing import Any

from fabric.api.network.views.values import OWNER_AND_STANDARD, owned_by, standard
from fabric.core.networks.model import Subnet

ATTRIBUTES = OWNER_AND_STANDARD | {
    "id",
    "name",
    "network_id",
    "cidr",
    "gateway_ip",
    "ip_version",
    "enable_dhcp",
    "subnetpool_id",
    "ipv6_ra_mode",
    "ipv6_address_mode",
    "dns_nameservers",
}


def render(subnet: Subnet) -> dict[str, Any]:
    return {
        "id": subnet.subnet_id,
        "name": subnet.name,
        **owned_by(subnet.project_id),
        "network_id": subnet.network_id,
        "ip_version": subnet.ip_version,
        "subnetpool_id": None,
        "enable_dhcp": subnet.enable_dhcp,
        "ipv6_ra_mode": None,
        "ipv6_address_mode": None,
        "gateway_ip": subnet.gateway_ip,
        "cidr": subnet.cidr,
        "allocation_pools": [{"start": pool.start, "end": pool.end} for pool in subnet.pools],
        "host_routes": [_route(text) for text in subnet.host_routes],
        "dns_nameservers": list(subnet.dns_nameservers),
        "description": subnet.description,
        "service_types": [],
        **standard(created_ms=subnet.created_ms, updated_ms=subnet.updated_ms, revision=subnet.revision),
    }


def _route(text: str) -> dict[str, str]:
    destination, _, nexthop = text.partition(" via ")
    return {"destination": destination, "nexthop": nexthop}
