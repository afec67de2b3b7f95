"""Quota limits of network resources. Compute's are in `limits.py`; rows and counting are shared."""

from __future__ import annotations

from collections.abc import Mapping

from fabric.control import policy
from fabric.control.context import Caller, Cloud
from fabric.control.errors import InvalidError
from fabric.control.propose import propose
from fabric.core.quotas.model import (
    DEFAULT_LIMITS,
    NETWORK_RESOURCES,
    GetQuotaClass,
    GetQuotas,
    ListLimitedProjects,
    QuotaUsage,
)
from fabric.core.voters.levels import GetLevel
from proto.commands import Command
from proto.commands.quotas import QuotaResetOf, QuotaSet
from proto.ids import ProjectId

RESOURCES = NETWORK_RESOURCES
_LIMIT_MAX = 2_147_483_647
_LEVEL = 2  # from which on a reset can be of some resources


async def default_quotas(cloud: Cloud, caller: Caller, project_id: ProjectId) -> Mapping[str, int]:
    """Raises NotFoundError for another project's."""
    policy.authorize(caller, "network_quotas:show", project_id)
    defaults = await cloud.state.read(GetQuotaClass())
    return {name: defaults[name] for name in RESOURCES}


async def list_quotas(cloud: Cloud, caller: Caller) -> Mapping[ProjectId, Mapping[str, int]]:
    """Of every project that has any of its own. Raises ForbiddenError."""
    policy.require(caller, "network_quotas:list")
    found = {}
    for project_id in await cloud.state.read(ListLimitedProjects(resources=RESOURCES)):
        usage = await cloud.state.read(GetQuotas(project_id=project_id))
        found[project_id] = {name: usage.limits[name] for name in RESOURCES}
    return found


async def get_quotas(cloud: Cloud, caller: Caller, project_id: ProjectId) -> QuotaUsage:
    """Limits (-1: none) and usage of RESOURCES. Raises NotFoundError for another project's."""
    policy.authorize(caller, "network_quotas:show", project_id)
    usage = await cloud.state.read(GetQuotas(project_id=project_id))
    return QuotaUsage(
        limits={name: usage.limits[name] for name in RESOURCES},
        used={name: usage.used.get(name, 0) for name in RESOURCES},
    )


async def set_quotas(
    cloud: Cloud, caller: Caller, project_id: ProjectId, limits: Mapping[str, int], *, check_usage: bool
) -> QuotaUsage:
    """Merged into what is set; `check_usage` refuses a limit below what is used now.

    Raises: ForbiddenError, InvalidError.
    """
    policy.authorize(caller, "network_quotas:update", project_id)
    for name, limit in limits.items():
        if name not in RESOURCES:
            raise InvalidError(f"Quota resource '{name[:64]}' is unknown; one of {', '.join(RESOURCES)}.")
        if not -1 <= limit <= _LIMIT_MAX:
            raise InvalidError(f"Quota limit for {name} must be -1 (no limit) or between 0 and {_LIMIT_MAX}.")
    if check_usage:
        used = (await get_quotas(cloud, caller, project_id)).used
        for name, limit in limits.items():
            if 0 <= limit < used[name]:
                raise InvalidError(f"Quota limit {limit} for {name} is below its usage of {used[name]}.")
    await propose(cloud, QuotaSet(project_id=project_id, limits=limits), request_id=caller.request_id)
    return await get_quotas(cloud, caller, project_id)


async def reset_quotas(cloud: Cloud, caller: Caller, project_id: ProjectId) -> None:
    """Network limits back to the defaults; Compute's stay as they are. Raises ForbiddenError."""
    policy.authorize(caller, "network_quotas:delete", project_id)
    command: Command = QuotaResetOf(project_id=project_id, resources=RESOURCES)
    if await cloud.state.read(GetLevel()) < _LEVEL:
        defaults = {name: DEFAULT_LIMITS[name] for name in RESOURCES}
        command = QuotaSet(project_id=project_id, limits=defaults)
    await propose(cloud, command, request_id=caller.request_id)
