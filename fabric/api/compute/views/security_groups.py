"""Security groups in Nova's old shape: `/servers/{id}/os-security-groups`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fabric.core.networks.model import SecurityGroup, SecurityRule


def render(group: SecurityGroup, names: Mapping[str, str]) -> dict[str, Any]:
    """Nova's shape knows only what may come in. `names`: of the groups known, by id."""
    return {
        "id": group.security_group_id,
        "name": group.name,
        "description": group.description,
        "tenant_id": group.project_id,
        "rules": [_rule(rule, names) for rule in group.rules if rule.direction == "ingress"],
    }


def _rule(rule: SecurityRule, names: Mapping[str, str]) -> dict[str, Any]:
    by_group: dict[str, Any] = {}
    if rule.remote_group_id is not None:
        by_group = {
            "tenant_id": rule.project_id,
            "name": names.get(rule.remote_group_id, rule.remote_group_id),
        }
    return {
        "id": rule.rule_id,
        "parent_group_id": rule.security_group_id,
        "ip_protocol": rule.protocol,
        "from_port": rule.port_min,
        "to_port": rule.port_max,
        "group": by_group,
        "ip_range": {} if by_group else {"cidr": rule.remote_cidr or _anywhere(rule)},
    }


def _anywhere(rule: SecurityRule) -> str:
    return "::/0" if rule.ethertype == "IPv6" else "0.0.0.0/0"
