"""Security groups and their rules as Neutron shows them."""

from __future__ import annotations

from typing import Any

from fabric.api.network.views.values import OWNER_AND_STANDARD, owned_by, standard
from fabric.core.networks.model import SecurityGroup, SecurityRule

GROUP_ATTRIBUTES = OWNER_AND_STANDARD | {"id", "name", "stateful", "shared"}
RULE_ATTRIBUTES = OWNER_AND_STANDARD | {
    "id",
    "security_group_id",
    "direction",
    "ethertype",
    "protocol",
    "port_range_min",
    "port_range_max",
    "remote_ip_prefix",
    "remote_group_id",
}


def render_group(group: SecurityGroup) -> dict[str, Any]:
    return {
        "id": group.security_group_id,
        "name": group.name,
        "stateful": True,
        **owned_by(group.project_id),
        "description": group.description,
        "shared": False,
        "security_group_rules": [render_rule(rule) for rule in group.rules],
        **standard(created_ms=group.created_ms, updated_ms=group.updated_ms, revision=group.revision),
    }


def render_rule(rule: SecurityRule) -> dict[str, Any]:
    return {
        "id": rule.rule_id,
        **owned_by(rule.project_id),
        "security_group_id": rule.security_group_id,
        "ethertype": rule.ethertype,
        "direction": rule.direction,
        "protocol": rule.protocol,
        "port_range_min": rule.port_min,
        "port_range_max": rule.port_max,
        "remote_ip_prefix": rule.remote_cidr,
        "remote_address_group_id": None,
        "normalized_cidr": rule.remote_cidr,
        "remote_group_id": rule.remote_group_id,
        "description": rule.description,
        **standard(created_ms=rule.created_ms, updated_ms=rule.updated_ms, revision=rule.revision),
    }
