"""Quotas as users see them (limits) and as admins set them (quota sets). Numbers: -1 is no limit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fabric.control import policy
from fabric.control.context import Caller, Cloud
from fabric.control.errors import ForbiddenError, InvalidError
from fabric.control.propose import propose
from fabric.core.identity.queries import GetProject, GetUser
from fabric.core.quotas.model import (
    ALL_LIMITS,
    COMPUTE_RESOURCES,
    DEFAULT_LIMITS,
    OF_USERS,
    UNLIMITED,
    GetQuotaClass,
    GetQuotas,
    ListUserLimits,
    QuotaUsage,
)
from fabric.core.voters.levels import GetLevel
from proto.commands import Command
from proto.commands.quotas import QuotaReset, QuotaResetOf, QuotaSet, QuotaSetOf
from proto.ids import ProjectId, UserId

LIMIT_MAX = 0x7FFFFFFF  # Nova's
_ENDLESS = LIMIT_MAX + 1  # as a number to compare with
_LEVEL = 2  # from which on a reset can be of some resources, or of a user


@dataclass(frozen=True, slots=True)
class _Range:
    """What a limit may be set to."""

    minimum: int
    maximum: int


async def show_limits(cloud: Cloud, caller: Caller, project_id: str | None = None) -> QuotaUsage:
    """Of the caller's project, or (admins) another. Raises: ForbiddenError."""
    policy.require(caller, "compute:limits:show")
    return await cloud.state.read(GetQuotas(project_id=_visible(caller, project_id)))


async def show_quotas(
    cloud: Cloud, caller: Caller, project_id: str, *, user_id: str | None = None
) -> QuotaUsage:
    """`user_id`: that user's part. Raises: ForbiddenError (another project's and no admin), InvalidError
    (unknown project)."""
    policy.require(caller, "compute:quotas:show")
    owner = await _existing(cloud, _visible(caller, project_id))
    return await cloud.state.read(GetQuotas(project_id=owner, user_id=_user(user_id)))


async def default_quotas(cloud: Cloud, caller: Caller, project_id: str) -> Mapping[str, int]:
    """Limits of a project nobody has set any for. Raises: as `show_quotas`."""
    policy.require(caller, "compute:quotas:show")
    await _existing(cloud, _visible(caller, project_id))
    return await cloud.state.read(GetQuotaClass())


async def set_quotas(
    cloud: Cloud,
    caller: Caller,
    project_id: str,
    limits: Mapping[str, int],
    *,
    user_id: str | None = None,
    force: bool,
) -> QuotaUsage:
    """Merged into what is set for the project, or for one user in it.

    Raises: ForbiddenError, InvalidError (unknown project, user or resource; unless `force`, a limit below
    what is in use or, a user's, above what the project has left to give).
    """
    policy.require(caller, "compute:quotas:update")
    owner, user = await _existing(cloud, ProjectId(project_id)), _user(user_id)
    if user is not None and await cloud.state.read(GetUser(user_id=user)) is None:
        raise InvalidError(f"User ID {user} is not a valid user.")
    check_numbers(limits)
    if user is not None and (of_projects := sorted(limits.keys() - OF_USERS)):
        raise InvalidError(f"{of_projects[0]}: a user has no limit of it, only the whole project.")
    if limits and not force:
        for resource, allowed in (await _settable(cloud, owner, user, limits)).items():
            _check_range(resource, limits[resource], allowed)
    if limits:
        await propose(cloud, _set(owner, user, limits), request_id=caller.request_id)
    return await cloud.state.read(GetQuotas(project_id=owner, user_id=user))


async def reset_quotas(cloud: Cloud, caller: Caller, project_id: str, *, user_id: str | None = None) -> None:
    """Compute's back to the defaults, the project's and its users' or one user's.

    Raises: ForbiddenError, InvalidError (unknown project).
    """
    policy.require(caller, "compute:quotas:delete")
    owner, user = await _existing(cloud, ProjectId(project_id)), _user(user_id)
    command: Command = QuotaResetOf(project_id=owner, user_id=user, resources=COMPUTE_RESOURCES)
    if user is None and await cloud.state.read(GetLevel()) < _LEVEL:
        command = QuotaReset(project_id=owner)
    await propose(cloud, command, request_id=caller.request_id)


def check_numbers(limits: Mapping[str, int]) -> None:
    """Raises InvalidError: no such resource, or no such limit."""
    for resource, limit in limits.items():
        if resource not in ALL_LIMITS:
            raise InvalidError(f"{resource}: quotas of this kind cannot be set here.")
        if not UNLIMITED <= limit <= LIMIT_MAX:
            raise InvalidError(f"{resource}: the limit must be -1 (none) or from 0 to {LIMIT_MAX}.")


def _set(owner: ProjectId, user: UserId | None, limits: Mapping[str, int]) -> Command:
    if user is None and limits.keys() <= DEFAULT_LIMITS.keys():
        return QuotaSet(project_id=owner, limits=dict(limits))
    return QuotaSetOf(project_id=owner, user_id=user, limits=dict(limits))


async def _settable(
    cloud: Cloud, owner: ProjectId, user: UserId | None, resources: Mapping[str, int]
) -> dict[str, _Range]:
    """A user may be given what the project has not given to others; a project may not be left with less than
    its users were given. Nobody with less than they use. Source: Nova's settable quotas."""
    project = await cloud.state.read(GetQuotas(project_id=owner))
    users = await cloud.state.read(ListUserLimits(project_id=owner))
    used = project.used
    if user is not None:
        used = (await cloud.state.read(GetQuotas(project_id=owner, user_id=user))).used
    found = {}
    for resource in resources:
        given = sum(max(0, each.limits.get(resource, 0)) for each in users if each.user_id != user)
        limit = project.limits[resource]
        if user is None:
            found[resource] = _Range(max(given, used[resource]), _ENDLESS)
        else:
            found[resource] = _Range(used[resource], _ENDLESS if limit == UNLIMITED else limit - given)
    return found


def _check_range(resource: str, limit: int, allowed: _Range) -> None:
    number = _ENDLESS if limit == UNLIMITED else limit
    if number < allowed.minimum:
        raise InvalidError(
            f"Quota limit {limit} for {resource} must be greater than or equal to already used and reserved "
            f"{allowed.minimum}."
        )
    if number > allowed.maximum:
        raise InvalidError(
            f"Quota limit {limit} for {resource} must be less than or equal to {allowed.maximum}."
        )


async def _existing(cloud: Cloud, project_id: ProjectId) -> ProjectId:
    if await cloud.state.read(GetProject(project_id=project_id)) is None:
        raise InvalidError(f"Project ID {project_id} is not a valid project.")
    return project_id


def _visible(caller: Caller, project_id: str | None) -> ProjectId:
    if project_id is None:
        return policy.owner_of_new(caller)
    if project_id != caller.project_id and not caller.is_admin:
        raise ForbiddenError("Policy doesn't allow another project's quotas to be shown.")
    return ProjectId(project_id)


def _user(user_id: str | None) -> UserId | None:
    return UserId(user_id) if user_id else None
