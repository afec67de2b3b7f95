"""Resource classes and traits."""

from __future__ import annotations

from fabric.control import policy
from fabric.control.context import Caller, Cloud
from fabric.control.errors import NotFoundError
from fabric.control.placement.forest import known_classes, known_traits, propose_here, read_forest
from proto.commands.providers import (
    ResourceClassCreate,
    ResourceClassDelete,
    ResourceClassRename,
    TraitCreate,
    TraitDelete,
)


async def list_classes(cloud: Cloud, caller: Caller) -> tuple[str, ...]:
    """Raises ForbiddenError."""
    policy.require(caller, "placement:resource_classes:list")
    return await known_classes(cloud)


async def need_class(cloud: Cloud, caller: Caller, name: str) -> None:
    """Raises ForbiddenError, NotFoundError."""
    policy.require(caller, "placement:resource_classes:show")
    if name not in await known_classes(cloud):
        raise NotFoundError(f"No such resource class {name}.")


async def create_class(cloud: Cloud, caller: Caller, name: str) -> None:
    """Raises ForbiddenError, ConflictError."""
    policy.require(caller, "placement:resource_classes:create")
    await propose_here(cloud, caller, ResourceClassCreate(name=name))


async def ensure_class(cloud: Cloud, caller: Caller, name: str) -> bool:
    """Whether it was made now. Raises ForbiddenError."""
    policy.require(caller, "placement:resource_classes:create")
    if name in await known_classes(cloud):
        return False
    await propose_here(cloud, caller, ResourceClassCreate(name=name))
    return True


async def rename_class(cloud: Cloud, caller: Caller, name: str, to: str) -> None:
    """Raises ForbiddenError, NotFoundError, ConflictError, InvalidError (a standard one)."""
    policy.require(caller, "placement:resource_classes:update")
    await propose_here(cloud, caller, ResourceClassRename(name=name, to=to))


async def delete_class(cloud: Cloud, caller: Caller, name: str) -> None:
    """Raises ForbiddenError, NotFoundError, ConflictError (in use), InvalidError (a standard one)."""
    policy.require(caller, "placement:resource_classes:delete")
    await propose_here(cloud, caller, ResourceClassDelete(name=name))


async def list_traits(
    cloud: Cloud,
    caller: Caller,
    *,
    among: frozenset[str] | None = None,
    beginning: str = "",
    associated: bool | None = None,
) -> tuple[str, ...]:
    """Sorted. `associated`: those that some provider has, or that none has. Raises ForbiddenError."""
    policy.require(caller, "placement:traits:list")
    names = await known_traits(cloud)
    if associated is not None:
        had = frozenset().union(*(each.traits for each in await read_forest(cloud)))
        names = names & had if associated else names - had
    return tuple(
        sorted(name for name in names if name.startswith(beginning) and (among is None or name in among))
    )


async def need_trait(cloud: Cloud, caller: Caller, name: str) -> None:
    """Raises ForbiddenError, NotFoundError."""
    policy.require(caller, "placement:traits:show")
    if name not in await known_traits(cloud):
        raise NotFoundError(f"No such trait(s): {name}.")


async def ensure_trait(cloud: Cloud, caller: Caller, name: str) -> bool:
    """Whether it was made now. Raises ForbiddenError."""
    policy.require(caller, "placement:traits:create")
    applied = await propose_here(cloud, caller, TraitCreate(name=name))
    return bool(applied.result.get("created"))


async def delete_trait(cloud: Cloud, caller: Caller, name: str) -> None:
    """Raises ForbiddenError, NotFoundError, ConflictError (in use), InvalidError (a standard one)."""
    policy.require(caller, "placement:traits:delete")
    await propose_here(cloud, caller, TraitDelete(name=name), in_use="placement.trait.inuse")
