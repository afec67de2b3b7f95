"""Keystone's registered limits and limits: what `fabric/core/quotas/unified.py` says of the limits that
quota sets speak of too. Numbers: -1 is no limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fabric.control import policy
from fabric.control.context import Caller, Cloud
from fabric.control.errors import InvalidError, NotFoundError
from fabric.control.propose import propose
from fabric.control.service_catalog import service_catalog
from fabric.core.identity.queries import GetProject
from fabric.core.quotas.model import ALL_LIMITS
from fabric.core.quotas.unified import (
    Limit,
    ListLimits,
    ListRegisteredLimits,
    RegisteredLimit,
    limit_id,
    resource_of,
)
from proto.commands.limits import (
    LimitDelete,
    LimitsCreate,
    LimitUpdate,
    NewLimit,
    NewRegisteredLimit,
    RegisteredLimitDelete,
    RegisteredLimitsCreate,
    RegisteredLimitUpdate,
)
from proto.ids import ProjectId, new_hex_id


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitFilter:
    """None: whatever it is."""

    service_id: str | None = None
    region_id: str | None = None
    resource_name: str | None = None
    project_id: str | None = None
    domain_id: str | None = None

    def lets_pass(self, limit: RegisteredLimit | Limit) -> bool:
        """Owners are asked for by `lets_owner_pass`."""
        return (
            self.service_id in (None, service_id_of(limit.service_type))
            and self.region_id in (None, limit.region_id)
            and self.resource_name in (None, limit.resource_name)
        )

    def lets_owner_pass(self, limit: Limit) -> bool:
        return self.project_id in (None, limit.project_id) and self.domain_id in (None, limit.domain_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredLimitWish:
    service_id: str
    resource_name: str
    region_id: str | None = None
    default_limit: int
    description: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitWish:
    """Of a project, or of a domain."""

    project_id: str | None = None
    domain_id: str | None = None
    service_id: str
    resource_name: str
    region_id: str | None = None
    resource_limit: int
    description: str | None = None


def service_id_of(service_type: str) -> str | None:
    """None: the catalog has no such service (any more)."""
    return next((each.service_id for each in service_catalog("", "") if each.type == service_type), None)


# ---- registered limits


async def list_registered(cloud: Cloud, caller: Caller, wanted: LimitFilter) -> tuple[RegisteredLimit, ...]:
    """Raises: ForbiddenError."""
    policy.require(caller, "identity:registered_limits:list")
    return tuple(each for each in await cloud.state.read(ListRegisteredLimits()) if wanted.lets_pass(each))


async def get_registered(cloud: Cloud, caller: Caller, wanted_id: str) -> RegisteredLimit:
    """Raises: ForbiddenError, NotFoundError."""
    policy.require(caller, "identity:registered_limits:show")
    for each in await cloud.state.read(ListRegisteredLimits()):
        if each.limit_id == wanted_id:
            return each
    raise NotFoundError(f"Could not find registered limit for {wanted_id}.")


async def create_registered(
    cloud: Cloud, caller: Caller, wishes: Sequence[RegisteredLimitWish]
) -> tuple[RegisteredLimit, ...]:
    """All or none. Raises: ForbiddenError, InvalidError (unknown service or region), ConflictError."""
    policy.require(caller, "identity:registered_limits:create")
    new = tuple(_registration(cloud, new_hex_id(), wish) for wish in wishes)
    await propose(cloud, RegisteredLimitsCreate(limits=new), request_id=caller.request_id)
    by_id = {each.limit_id: each for each in await cloud.state.read(ListRegisteredLimits())}
    return tuple(by_id[each.limit_id] for each in new if each.limit_id in by_id)


async def update_registered(
    cloud: Cloud, caller: Caller, wanted_id: str, wish: RegisteredLimitWish
) -> RegisteredLimit:
    """What it is from now on. Raises: NotFoundError, InvalidError, ConflictError, ForbiddenError (also while
    there are limits of it)."""
    policy.require(caller, "identity:registered_limits:update")
    former = await get_registered(cloud, caller, wanted_id)
    command = RegisteredLimitUpdate(
        limit=_registration(cloud, wanted_id, wish), former_default=ALL_LIMITS.get(former.resource)
    )
    await propose(cloud, command, request_id=caller.request_id)
    return await get_registered(cloud, caller, wanted_id)


async def delete_registered(cloud: Cloud, caller: Caller, wanted_id: str) -> None:
    """Its default goes back to the fabric's own, where there is one. Raises: NotFoundError, ForbiddenError
    (also while there are limits of it)."""
    policy.require(caller, "identity:registered_limits:delete")
    former = await get_registered(cloud, caller, wanted_id)
    command = RegisteredLimitDelete(limit_id=wanted_id, former_default=ALL_LIMITS.get(former.resource))
    await propose(cloud, command, request_id=caller.request_id)


# ---- limits


async def list_limits(cloud: Cloud, caller: Caller, wanted: LimitFilter) -> tuple[Limit, ...]:
    """The caller's project's own; everybody's for an admin. Raises: ForbiddenError."""
    policy.require(caller, "identity:limits:list")
    owner = policy.visible_to(caller) or wanted.project_id or wanted.domain_id
    found = await cloud.state.read(ListLimits(owner_id=owner))
    return tuple(each for each in found if wanted.lets_pass(each) and wanted.lets_owner_pass(each))


async def get_limit(cloud: Cloud, caller: Caller, wanted_id: str) -> Limit:
    """Raises: ForbiddenError, NotFoundError (another project's too)."""
    policy.require(caller, "identity:limits:show")
    for each in await cloud.state.read(ListLimits(owner_id=policy.visible_to(caller))):
        if each.limit_id == wanted_id:
            return each
    raise NotFoundError(f"Could not find limit for {wanted_id}.")


async def create_limits(cloud: Cloud, caller: Caller, wishes: Sequence[LimitWish]) -> tuple[Limit, ...]:
    """All or none. Raises: InvalidError (unknown service, region, project or domain), ConflictError,
    ForbiddenError (also where nothing is registered)."""
    policy.require(caller, "identity:limits:create")
    new = tuple([await _limit(cloud, wish) for wish in wishes])
    await propose(cloud, LimitsCreate(limits=new), request_id=caller.request_id)
    by_id = {each.limit_id: each for each in await cloud.state.read(ListLimits())}
    ids = [limit_id(each.owner_id, resource_of(each.service_type, each.resource_name)) for each in new]
    return tuple(by_id[each] for each in ids if each in by_id)


async def update_limit(
    cloud: Cloud, caller: Caller, wanted_id: str, *, resource_limit: int, description: str | None
) -> Limit:
    """What it is from now on. Raises: NotFoundError, ForbiddenError."""
    policy.require(caller, "identity:limits:update")
    limit = await get_limit(cloud, caller, wanted_id)
    command = LimitUpdate(
        owner_id=limit.owner_id,
        resource=limit.resource,
        resource_limit=resource_limit,
        description=description,
    )
    await propose(cloud, command, request_id=caller.request_id)
    return await get_limit(cloud, caller, wanted_id)


async def delete_limit(cloud: Cloud, caller: Caller, wanted_id: str) -> None:
    """The default holds again. Raises: NotFoundError, ForbiddenError."""
    policy.require(caller, "identity:limits:delete")
    limit = await get_limit(cloud, caller, wanted_id)
    command = LimitDelete(owner_id=limit.owner_id, resource=limit.resource)
    await propose(cloud, command, request_id=caller.request_id)


def _registration(cloud: Cloud, new_id: str, wish: RegisteredLimitWish) -> NewRegisteredLimit:
    return NewRegisteredLimit(
        limit_id=new_id,
        service_type=_service_type(wish.service_id),
        resource_name=wish.resource_name,
        region_id=_region(cloud, wish.region_id),
        default_limit=wish.default_limit,
        description=wish.description,
    )


async def _limit(cloud: Cloud, wish: LimitWish) -> NewLimit:
    return NewLimit(
        owner_id=await _owner(cloud, wish),
        service_type=_service_type(wish.service_id),
        resource_name=wish.resource_name,
        region_id=_region(cloud, wish.region_id),
        resource_limit=wish.resource_limit,
        description=wish.description,
    )


async def _owner(cloud: Cloud, wish: LimitWish) -> str:
    """A domain is a project too, as Keystone has it."""
    fabric = await cloud.auth.fabric(cloud.state)
    if fabric.domain_id in (wish.project_id, wish.domain_id):
        return fabric.domain_id
    if wish.project_id is None:
        raise InvalidError(f"domain_id: there is no domain {wish.domain_id}.")
    if await cloud.state.read(GetProject(project_id=ProjectId(wish.project_id))) is None:
        raise InvalidError(f"project_id: there is no project {wish.project_id}.")
    return wish.project_id


def _service_type(service_id: str) -> str:
    for service in service_catalog("", ""):
        if service.service_id == service_id:
            return service.type
    raise InvalidError(f"service_id: the catalog has no service {service_id}.")


def _region(cloud: Cloud, region_id: str | None) -> str | None:
    if region_id not in (None, cloud.region):
        raise InvalidError(f"region_id: there is no region {region_id}; this cloud has one, {cloud.region}.")
    return region_id
