"""Quotas and limits as JSON, under Nova's many names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fabric.api.compute.versions import v
from fabric.api.microversion import Microversion
from fabric.core.quotas.model import QuotaUsage

UNLIMITED = -1
_GROUPS = ("server_groups", "server_group_members")
_ALWAYS = ("instances", "cores", "ram", "metadata_items", "key_pairs")
_NETWORK = ("fixed_ips", "floating_ips", "security_groups", "security_group_rules")  # the network API's
_FILES = ("injected_files", "injected_file_content_bytes", "injected_file_path_bytes")
_OURS = {"security_groups": "security_group", "security_group_rules": "security_group_rule"}


def resources(version: Microversion) -> tuple[str, ...]:
    """Names in a quota set at this version."""
    network = _NETWORK if version <= v(35) else ()
    files = _FILES if version <= v(56) else ()
    return _ALWAYS + _GROUPS + network + files


def class_resources(version: Microversion) -> tuple[str, ...]:
    """Names in a quota class set at this version."""
    files = _FILES if version <= v(56) else ()
    return _ALWAYS + (_NETWORK if version <= v(49) else _GROUPS) + files


def settable(version: Microversion) -> frozenset[str]:
    return frozenset(resources(version))


def class_settable(version: Microversion) -> frozenset[str]:
    """Before 2.50 more than is shown."""
    return frozenset((*class_resources(version), *_GROUPS))


def our_name(name: str) -> str:
    """What Nova calls so."""
    return _OURS.get(name, name)


def quota_class_set(
    limits: Mapping[str, int], version: Microversion, name: str | None = None
) -> dict[str, Any]:
    """`name` None: the answer to PUT, which has no id."""
    result: dict[str, Any] = {each: _limit(limits, each) for each in class_resources(version)}
    return result if name is None else {"id": name} | result


def quota_set(
    limits: Mapping[str, int], version: Microversion, project_id: str | None = None
) -> dict[str, Any]:
    """`project_id` None: the answer to PUT, which has no id."""
    result: dict[str, Any] = {name: _limit(limits, name) for name in resources(version)}
    return result if project_id is None else {"id": project_id} | result


def quota_set_detail(usage: QuotaUsage, version: Microversion, project_id: str) -> dict[str, Any]:
    result: dict[str, Any] = {"id": project_id}
    for name in resources(version):
        limit, used = _limit(usage.limits, name), usage.used.get(our_name(name), 0)
        result[name] = {"limit": limit, "in_use": used, "reserved": 0}
    return result


def absolute_limits(usage: QuotaUsage, version: Microversion) -> dict[str, int]:
    limits, used = usage.limits, usage.used
    result = {
        "maxTotalInstances": _limit(limits, "instances"),
        "maxTotalCores": _limit(limits, "cores"),
        "maxTotalRAMSize": _limit(limits, "ram"),
        "maxServerMeta": _limit(limits, "metadata_items"),
        "maxTotalKeypairs": _limit(limits, "key_pairs"),
        "maxServerGroups": _limit(limits, "server_groups"),
        "maxServerGroupMembers": _limit(limits, "server_group_members"),
        "totalInstancesUsed": used.get("instances", 0),
        "totalCoresUsed": used.get("cores", 0),
        "totalRAMUsed": used.get("ram", 0),
        "totalServerGroupsUsed": used.get("server_groups", 0),
    }
    if version <= v(35):
        result |= {
            "maxTotalFloatingIps": _limit(limits, "floating_ips"),
            "maxSecurityGroups": _limit(limits, "security_groups"),
            "maxSecurityGroupRules": _limit(limits, "security_group_rules"),
            "totalFloatingIpsUsed": 0,
            "totalSecurityGroupsUsed": used.get("security_group", 0),
        }
    if version <= v(38):
        result["maxImageMeta"] = _limit(limits, "metadata_items")
    if version <= v(56):
        result |= {
            "maxPersonality": _limit(limits, "injected_files"),
            "maxPersonalitySize": _limit(limits, "injected_file_content_bytes"),
        }
    return result


def _limit(limits: Mapping[str, int], name: str) -> int:
    return limits.get(our_name(name), UNLIMITED)
