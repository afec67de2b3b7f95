"""A port as Neutron shows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fabric.api.faults import ApiError
from fabric.api.network.views.values import OWNER_AND_STANDARD, owned_by, standard
from fabric.core.networks.model import Port

ATTRIBUTES = OWNER_AND_STANDARD | {
    "id",
    "name",
    "network_id",
    "mac_address",
    "admin_state_up",
    "status",
    "device_id",
    "device_owner",
    "security_groups",
    "port_security_enabled",
    "binding:host_id",
    "binding:vnic_type",
    "binding:vif_type",
}


def render(port: Port, *, for_admin: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": port.port_id,
        "name": port.name,
        "network_id": port.network_id,
        **owned_by(port.project_id),
        "mac_address": port.mac,
        "admin_state_up": port.admin_state_up,
        "status": port.status,
        "device_id": port.device_id,
        "device_owner": port.device_owner,
        "fixed_ips": [
            {"subnet_id": choice.subnet_id, "ip_address": choice.address} for choice in port.fixed_ips
        ],
        "security_groups": list(port.security_group_ids),
        "description": port.description,
        "port_security_enabled": port.port_security_enabled,
        "binding:vnic_type": "normal",
        **standard(created_ms=port.created_ms, updated_ms=port.updated_ms, revision=port.revision),
    }
    if for_admin:
        is_bound = port.host_id is not None
        shown["binding:host_id"] = port.host_name or port.host_id or ""
        shown["binding:vif_type"] = "bridge" if is_bound else "unbound"
        shown["binding:vif_details"] = {"port_filter": True} if is_bound else {}
        shown["binding:profile"] = {}
    return shown


def match_fixed_ips(one: dict[str, Any], wanted: Sequence[str]) -> bool:
    """`fixed_ips=ip_address=A`, `subnet_id=S`, `ip_address_substr=T`. Values of one key are alternatives,
    keys go together, on the same address. Source: Neutron API reference, "List ports"."""
    by_key: dict[str, list[str]] = {}
    for text in wanted:
        key, separator, value = text.partition("=")
        if not separator or key not in ("ip_address", "subnet_id", "ip_address_substr"):
            raise ApiError(400, f"Invalid input for fixed_ips: '{text[:64]}'.")
        by_key.setdefault(key, []).append(value)
    return any(
        all(_has(choice, key, values) for key, values in by_key.items()) for choice in one["fixed_ips"]
    )


def _has(choice: dict[str, str], key: str, values: list[str]) -> bool:
    if key == "ip_address_substr":
        return any(value in choice["ip_address"] for value in values)
    return choice[key] in values


def match_security_groups(one: dict[str, Any], wanted: Sequence[str]) -> bool:
    return any(group in wanted for group in one["security_groups"])
