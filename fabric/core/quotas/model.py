"""Quota limits and usage, by Nova's and Neutron's resource names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fabric.core.queries import Query
from proto.ids import ProjectId, UserId

DEFAULT_LIMITS: Mapping[str, int] = {  # Nova's and Neutron's own defaults where they have one
    "instances": 10,
    "cores": 20,
    "ram": 51_200,
    "key_pairs": 100,
    "metadata_items": 128,
    "server_groups": 10,
    "server_group_members": 10,
    "network": 100,
    "subnet": 100,
    "port": 500,
    "security_group": 10,
    "security_group_rule": 100,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaUsage:
    limits: Mapping[str, int]  # -1: no limit
    used: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class GetQuotas(Query[QuotaUsage]):
    project_id: ProjectId
    user_id: UserId | None = None  # for key_pairs, which belong to users
