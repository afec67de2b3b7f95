"""Quota limits and usage, by Nova's and Neutron's resource names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fabric.core.queries import Query
from proto.ids import ProjectId, UserId

UNLIMITED = -1
DEFAULT_CLASS = "default"  # the one quota class that counts: what a project has that nobody has set any for

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
"""FabricInit makes these the fabric's, and `quota.set` knows no others: a name more is another level."""

UNCOUNTED_LIMITS: Mapping[str, int] = {  # Nova's that only its older microversions show; nothing counts them
    "fixed_ips": UNLIMITED,
    "floating_ips": UNLIMITED,
    "injected_files": 0,  # files cannot be injected: user data and config drive do that job
    "injected_file_content_bytes": 0,
    "injected_file_path_bytes": 0,
}
ALL_LIMITS: Mapping[str, int] = {**DEFAULT_LIMITS, **UNCOUNTED_LIMITS}

NETWORK_RESOURCES = ("network", "subnet", "port", "security_group", "security_group_rule")
COMPUTE_RESOURCES = tuple(name for name in ALL_LIMITS if name not in NETWORK_RESOURCES)
OF_USERS = frozenset(COMPUTE_RESOURCES) - {"fixed_ips", "floating_ips"}  # Nova's `per_project_quotas`


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaUsage:
    limits: Mapping[str, int]  # -1: no limit
    used: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class GetQuotas(Query[QuotaUsage]):
    """`user_id` given: that user's part of the project. Limits nobody set for the user are the project's;
    used is what the user's own servers and server groups take."""

    project_id: ProjectId
    user_id: UserId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetQuotaClass(Query[Mapping[str, int]]):
    """What is not set in a class is what the fabric began with. DEFAULT_CLASS: the fabric's defaults."""

    class_name: str = DEFAULT_CLASS


@dataclass(frozen=True, slots=True, kw_only=True)
class UserLimits:
    user_id: UserId
    limits: Mapping[str, int]  # only what was set


@dataclass(frozen=True, slots=True, kw_only=True)
class ListUserLimits(Query[tuple[UserLimits, ...]]):
    """The project's users who have limits of their own, by id."""

    project_id: ProjectId


@dataclass(frozen=True, slots=True, kw_only=True)
class ListLimitedProjects(Query[tuple[ProjectId, ...]]):
    """Projects that have a limit of their own for any of `resources`, by id."""

    resources: tuple[str, ...]
