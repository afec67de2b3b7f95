"""A network as Neutron shows it."""

from __future__ import annotations

from typing import Any

from fabric.api.network.views.values import OWNER_AND_STANDARD, owned_by, standard
from fabric.core.networks.model import Network

ATTRIBUTES = OWNER_AND_STANDARD | {
    "id",
    "name",
    "status",
    "admin_state_up",
    "shared",
    "mtu",
    "subnets",
    "router:external",
    "port_security_enabled",
    "provider:network_type",
    "provider:physical_network",
    "provider:segmentation_id",
}


def render(network: Network, zones: tuple[str, ...], *, for_admin: bool) -> dict[str, Any]:
    """`zones`: where the network is served: everywhere, for every host serves its own guests."""
    shown: dict[str, Any] = {
        "id": network.network_id,
        "name": network.name,
        **owned_by(network.project_id),
        "admin_state_up": network.admin_state_up,
        "mtu": network.mtu,
        "status": "ACTIVE" if network.admin_state_up else "DOWN",
        "subnets": list(network.subnet_ids),
        "shared": network.shared,
        "availability_zone_hints": [],
        "availability_zones": list(zones) if network.subnet_ids else [],
        "ipv4_address_scope": None,
        "ipv6_address_scope": None,
        "router:external": network.external,
        "description": network.description,
        "port_security_enabled": network.port_security_enabled,
        **standard(created_ms=network.created_ms, updated_ms=network.updated_ms, revision=network.revision),
    }
    if network.external:
        shown["is_default"] = False
    if for_admin:
        shown["provider:network_type"] = "local" if network.physical_network is None else "flat"
        shown["provider:physical_network"] = network.physical_network
        shown["provider:segmentation_id"] = None
    return shown
