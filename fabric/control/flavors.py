"""Flavors: sizes admins define and tenants choose from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fabric.control import policy
from fabric.control.context import Caller, Cloud
from fabric.control.errors import ConflictError, InvalidError, NotFoundError
from fabric.control.propose import propose
from fabric.core.catalog.model import Flavor
from fabric.core.catalog.queries import GetFlavor, ListFlavors
from fabric.core.queries import BadFilterError, MarkerNotFoundError, Page
from fabric.core.servers.guest_limits import PREFIX, limits_fault
from proto.commands.catalog import FlavorCreate, FlavorDelete, FlavorUpdate
from proto.ids import FlavorId, ProjectId, new_uuid


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFlavor:
    """`flavor_id` None: one is made."""

    name: str
    vcpus: int
    memory_mb: int
    root_gb: int
    flavor_id: str | None = None
    ephemeral_gb: int = 0
    swap_mb: int = 0
    is_public: bool = True
    description: str | None = None
    rxtx_factor_milli: int = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FlavorSearch:
    """`is_public` None is both kinds; tenants see public ones and those they were given, whatever it says."""

    is_public: bool | None = True
    min_disk_gb: int | None = None
    min_ram_mb: int | None = None
    name_regex: str | None = None  # unanchored, and checked


async def list_flavors(cloud: Cloud, caller: Caller, search: FlavorSearch, page: Page) -> tuple[Flavor, ...]:
    """Raises: InvalidError (unknown marker)."""
    policy.require(caller, "compute:flavors:list")
    query = ListFlavors(
        visible_to=policy.visible_to(caller),
        is_public=search.is_public if caller.is_admin else None,
        min_disk_gb=search.min_disk_gb,
        min_ram_mb=search.min_ram_mb,
        name_regex=search.name_regex,
        page=page,
    )
    try:
        return await cloud.state.read(query)
    except MarkerNotFoundError as error:
        raise InvalidError(f"marker [{page.marker}] not found") from error
    except BadFilterError as error:
        raise InvalidError(str(error)) from error


async def get_flavor(cloud: Cloud, caller: Caller, flavor_id: str) -> Flavor:
    """Raises: NotFoundError, also for a private flavor of other projects."""
    policy.require(caller, "compute:flavors:show")
    return await visible_flavor(cloud, caller, flavor_id)


async def visible_flavor(cloud: Cloud, caller: Caller, flavor_id: str) -> Flavor:
    """For operations that need a flavor by the way. Raises: NotFoundError."""
    flavor = await cloud.state.read(GetFlavor(flavor_id=FlavorId(flavor_id)))
    if flavor is None or not (
        flavor.is_public or caller.is_admin or caller.project_id in flavor.access_project_ids
    ):
        raise NotFoundError(f"Flavor {flavor_id} could not be found.")
    return flavor


async def create_flavor(cloud: Cloud, caller: Caller, new: NewFlavor) -> Flavor:
    """Raises: ForbiddenError, ConflictError (id or name exists)."""
    policy.require(caller, "compute:flavors:create")
    flavor_id = FlavorId(new.flavor_id or new_uuid())
    command = FlavorCreate(
        flavor_id=flavor_id,
        name=new.name,
        vcpus=new.vcpus,
        memory_mb=new.memory_mb,
        root_gb=new.root_gb,
        ephemeral_gb=new.ephemeral_gb,
        swap_mb=new.swap_mb,
        is_public=new.is_public,
        description=new.description,
        rxtx_factor_milli=new.rxtx_factor_milli,
    )
    await propose(cloud, command, request_id=caller.request_id)
    return await visible_flavor(cloud, caller, flavor_id)


async def set_description(cloud: Cloud, caller: Caller, flavor_id: str, description: str | None) -> Flavor:
    """Raises: ForbiddenError, NotFoundError."""
    policy.require(caller, "compute:flavors:update")
    flavor = await visible_flavor(cloud, caller, flavor_id)
    command = FlavorUpdate(flavor_id=flavor.flavor_id, description=description or "")
    await propose(cloud, command, request_id=caller.request_id)
    return await visible_flavor(cloud, caller, flavor_id)


async def delete_flavor(cloud: Cloud, caller: Caller, flavor_id: str) -> None:
    """Servers made from it keep their numbers. Raises: ForbiddenError, NotFoundError."""
    policy.require(caller, "compute:flavors:delete")
    await visible_flavor(cloud, caller, flavor_id)
    await propose(cloud, FlavorDelete(flavor_id=FlavorId(flavor_id)), request_id=caller.request_id)


async def set_extra_specs(
    cloud: Cloud, caller: Caller, flavor_id: str, specs: Mapping[str, str], *, is_checked: bool = False
) -> Flavor:
    """Merged into those there are. `is_checked`: limits that no guest could have are refused here and not
    only when somebody asks for a server. Raises: ForbiddenError, NotFoundError, InvalidError."""
    policy.require(caller, "compute:flavors:update")
    flavor = await visible_flavor(cloud, caller, flavor_id)
    if is_checked and any(name.startswith(PREFIX) for name in specs):
        fault = limits_fault({**flavor.extra_specs, **specs})
        if fault is not None:
            raise InvalidError(fault)
    command = FlavorUpdate(flavor_id=flavor.flavor_id, extra_specs_set=dict(specs))
    await propose(cloud, command, request_id=caller.request_id)
    return await visible_flavor(cloud, caller, flavor_id)


async def unset_extra_spec(cloud: Cloud, caller: Caller, flavor_id: str, key: str) -> None:
    """Raises: ForbiddenError, NotFoundError (flavor or key)."""
    policy.require(caller, "compute:flavors:update")
    flavor = await visible_flavor(cloud, caller, flavor_id)
    extra_spec(flavor, key)
    command = FlavorUpdate(flavor_id=flavor.flavor_id, extra_specs_unset=(key,))
    await propose(cloud, command, request_id=caller.request_id)


def extra_spec(flavor: Flavor, key: str) -> str:
    """Raises: NotFoundError."""
    if key not in flavor.extra_specs:
        raise NotFoundError(f"Flavor {flavor.flavor_id} has no extra specs with key {key}.")
    return flavor.extra_specs[key]


async def access_list(cloud: Cloud, caller: Caller, flavor_id: str) -> tuple[ProjectId, ...]:
    """Raises: ForbiddenError, NotFoundError (public flavors have no list)."""
    policy.require(caller, "compute:flavors:update")
    flavor = await visible_flavor(cloud, caller, flavor_id)
    if flavor.is_public:
        raise NotFoundError("Access list not available for public flavors.")
    return flavor.access_project_ids


async def add_access(
    cloud: Cloud, caller: Caller, flavor_id: str, project_id: ProjectId, *, refuse_public: bool
) -> tuple[ProjectId, ...]:
    """`refuse_public`: from 2.7 a public flavor is refused, before it was accepted without effect.

    Raises: ForbiddenError, NotFoundError, ConflictError (has access already, public flavor).
    """
    policy.require(caller, "compute:flavors:update")
    flavor = await visible_flavor(cloud, caller, flavor_id)
    if flavor.is_public and refuse_public:
        raise ConflictError("Can not add access to a public flavor.")
    if project_id in flavor.access_project_ids:
        raise ConflictError(f"Flavor access already exists for flavor {flavor_id} and project {project_id}")
    command = FlavorUpdate(flavor_id=flavor.flavor_id, access_add=(project_id,))
    await propose(cloud, command, request_id=caller.request_id)
    return (await visible_flavor(cloud, caller, flavor_id)).access_project_ids


async def remove_access(
    cloud: Cloud, caller: Caller, flavor_id: str, project_id: ProjectId
) -> tuple[ProjectId, ...]:
    """Raises: ForbiddenError, NotFoundError (flavor, or it had no access)."""
    policy.require(caller, "compute:flavors:update")
    flavor = await visible_flavor(cloud, caller, flavor_id)
    if project_id not in flavor.access_project_ids:
        raise NotFoundError(f"Flavor access not found for {flavor_id} / {project_id} combination.")
    command = FlavorUpdate(flavor_id=flavor.flavor_id, access_remove=(project_id,))
    await propose(cloud, command, request_id=caller.request_id)
    return (await visible_flavor(cloud, caller, flavor_id)).access_project_ids
