"""Quotas as users see them (limits) and as admins set them (quota sets)."""

from __future__ import annotations

from collections.abc import Mapping

from fabric.control import policy
from fabric.control.context import Caller, Cloud
from fabric.control.errors import ForbiddenError, InvalidError
from fabric.control.propose import propose
from fabric.core.identity.queries import GetProject
from fabric.core.quotas.model import DEFAULT_LIMITS, GetQuotas, QuotaUsage
from proto.commands.quotas import QuotaReset, QuotaSet
from proto.ids import ProjectId

LIMIT_MAX = 0x7FFFFFFF  # Nova's; -1 says "no limit"


async def show_limits(cloud: Cloud, caller: Caller, project_id: str | None = None) -> QuotaUsage:
    """Of the caller's project, or (admins) another. Raises: ForbiddenError."""
    policy.require(caller, "compute:limits:show")
    owner = _project(caller, project_id)
    return await cloud.state.read(GetQuotas(project_id=owner, user_id=caller.user_id))


async def show_quotas(cloud: Cloud, caller: Caller, project_id: str) -> QuotaUsage:
    """Raises: ForbiddenError (another project's and no admin)."""
    policy.require(caller, "compute:quotas:show")
    return await cloud.state.read(GetQuotas(project_id=_project(caller, project_id)))


async def default_quotas(cloud: Cloud, caller: Caller) -> Mapping[str, int]:
    """Limits of a project nobody has set any for."""
    policy.require(caller, "compute:quotas:show")
    return DEFAULT_LIMITS


async def set_quotas(
    cloud: Cloud, caller: Caller, project_id: str, limits: Mapping[str, int], *, force: bool
) -> QuotaUsage:
    """Raises: ForbiddenError, InvalidError (unknown project or resource; a limit below what is in use,
    unless `force`)."""
    policy.require(caller, "compute:quotas:update")
    owner = ProjectId(project_id)
    if await cloud.state.read(GetProject(project_id=owner)) is None:
        raise InvalidError(f"Project ID {project_id} is not a valid project.")
    quotas = await cloud.state.read(GetQuotas(project_id=owner))
    for resource, limit in limits.items():
        if resource not in DEFAULT_LIMITS:
            raise InvalidError(f"{resource}: quotas of this kind cannot be set here.")
        if not -1 <= limit <= LIMIT_MAX:
            raise InvalidError(f"{resource}: the limit must be -1 (none) or from 0 to {LIMIT_MAX}.")
        used = quotas.used.get(resource, 0)
        if not force and 0 <= limit < used:
            raise InvalidError(
                f"Quota limit {limit} for {resource} must be greater than or equal to already used {used}."
            )
    if limits:
        await propose(cloud, QuotaSet(project_id=owner, limits=dict(limits)), request_id=caller.request_id)
    return await cloud.state.read(GetQuotas(project_id=owner))


async def reset_quotas(cloud: Cloud, caller: Caller, project_id: str) -> None:
    """Back to the defaults. Raises: ForbiddenError."""
    policy.require(caller, "compute:quotas:delete")
    await propose(cloud, QuotaReset(project_id=ProjectId(project_id)), request_id=caller.request_id)


def _project(caller: Caller, project_id: str | None) -> ProjectId:
    if project_id is None:
        return policy.owner_of_new(caller)
    if project_id != caller.project_id and not caller.is_admin:
        raise ForbiddenError("Policy doesn't allow another project's quotas to be shown.")
    return ProjectId(project_id)
