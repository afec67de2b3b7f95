"""Resource providers: listing all, making and changing those that are no hosts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from fabric.control import policy
from fabric.control.context import Caller, Cloud
from fabric.control.errors import ConflictError, InvalidError, NotFoundError
from fabric.control.placement.forest import (
    CONCURRENT_UPDATE,
    known_classes,
    known_traits,
    need_provider,
    propose_here,
    read_forest,
)
from fabric.core.placement.inventory import Inventory
from fabric.core.providers.model import Amounts
from fabric.core.providers.request import MemberOf, Traits
from fabric.core.providers.tree import Provider
from proto.commands.providers import (
    ClassInventory,
    ProviderCreate,
    ProviderDelete,
    ProviderSet,
    ProviderUpdate,
)

INVENTORY_IN_USE = "placement.inventory.inuse"
PROVIDER_IN_USE = "placement.resource_provider.inuse"
DUPLICATE_NAME = "placement.duplicate_name"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderFilter:
    """All that is given must hold."""

    name: str | None = None
    provider_id: str | None = None
    in_tree: str | None = None
    resources: Amounts = field(default_factory=dict)  # it could give all of that now
    traits: Traits = field(default_factory=Traits)
    member_of: MemberOf = field(default_factory=MemberOf)


async def list_providers(cloud: Cloud, caller: Caller, wanted: ProviderFilter) -> tuple[Provider, ...]:
    """Hosts by number, then others by age. Raises: ForbiddenError, InvalidError (a name nobody knows)."""
    policy.require(caller, "placement:providers:list")
    await need_known(cloud, wanted.resources, wanted.traits)
    forest = await read_forest(cloud, with_used=bool(wanted.resources))
    among = forest if wanted.in_tree is None else forest.tree_of(wanted.in_tree)
    return tuple(
        each
        for each in among
        if (wanted.name is None or each.name == wanted.name)
        and (wanted.provider_id is None or each.provider_id == wanted.provider_id)
        and wanted.traits.lets(each.traits)
        and wanted.member_of.lets(each.aggregates)
        and all(each.gives(name, amount) for name, amount in wanted.resources.items())
    )


async def get_provider(
    cloud: Cloud, caller: Caller, provider_id: str, *, with_used: bool = False
) -> Provider:
    """Raises: ForbiddenError, NotFoundError."""
    policy.require(caller, "placement:providers:show")
    return need_provider(await read_forest(cloud, with_used=with_used), provider_id)


async def create_provider(
    cloud: Cloud, caller: Caller, *, provider_id: str, name: str, parent_id: str | None
) -> Provider:
    """Raises: ForbiddenError, ConflictError (name or id), InvalidError (parent)."""
    policy.require(caller, "placement:providers:create")
    command = ProviderCreate(provider_id=provider_id, name=name, parent_id=parent_id)
    try:
        await propose_here(cloud, caller, command)
    except ConflictError as error:
        raise ConflictError(error.message, type_name=DUPLICATE_NAME) from error
    return need_provider(await read_forest(cloud), provider_id)


async def update_provider(
    cloud: Cloud, caller: Caller, provider_id: str, *, name: str, parent_id: str | None, may_move: bool
) -> Provider:
    """`may_move`: from 1.37 a parent can be changed and taken away, before that only given.

    Raises: ForbiddenError, NotFoundError, ConflictError (name; it is a host), InvalidError (parent).
    """
    policy.require(caller, "placement:providers:update")
    now = need_provider(await read_forest(cloud), provider_id)
    if not may_move and now.parent_id not in (None, parent_id):
        raise InvalidError(
            "re-parenting a provider is not currently allowed. From microversion 1.37 on it is."
        )
    await propose_here(cloud, caller, ProviderUpdate(provider_id=provider_id, name=name, parent_id=parent_id))
    return need_provider(await read_forest(cloud), provider_id)


async def delete_provider(cloud: Cloud, caller: Caller, provider_id: str) -> None:
    """Raises: ForbiddenError, NotFoundError, ConflictError (in use, has children, is a host)."""
    policy.require(caller, "placement:providers:delete")
    await propose_here(cloud, caller, ProviderDelete(provider_id=provider_id), in_use=PROVIDER_IN_USE)


async def set_inventories(
    cloud: Cloud,
    caller: Caller,
    provider_id: str,
    inventories: Mapping[str, Inventory],
    generation: int | None,
) -> Provider:
    """Replaces all of them. Raises: ForbiddenError, NotFoundError, InvalidError, ConflictError (generation;
    a class in use would go; it is a host)."""
    policy.require(caller, "placement:providers:update")
    stock = as_stock(inventories)
    command = ProviderSet(provider_id=provider_id, generation=generation, inventories=stock)
    await propose_here(cloud, caller, command, in_use=INVENTORY_IN_USE)
    return need_provider(await read_forest(cloud), provider_id)


async def add_inventory(
    cloud: Cloud, caller: Caller, provider_id: str, resource_class: str, inventory: Inventory
) -> Provider:
    """Raises: as `set_inventories`, and ConflictError for a class it has already."""
    now = await get_provider(cloud, caller, provider_id)
    if resource_class in now.inventories and now.host_id is None:
        raise ConflictError(
            f"Update conflict: Inventory of {resource_class} of resource provider {provider_id} exists."
        )
    wanted = {**now.inventories, resource_class: inventory}
    return await set_inventories(cloud, caller, provider_id, wanted, now.generation)


async def set_inventory(
    cloud: Cloud,
    caller: Caller,
    provider_id: str,
    resource_class: str,
    inventory: Inventory,
    generation: int,
) -> Provider:
    """Of a class that it has. Raises: as `set_inventories`."""
    now = await get_provider(cloud, caller, provider_id)
    if now.host_id is None:
        if generation != now.generation:
            raise ConflictError("resource provider generation conflict", type_name=CONCURRENT_UPDATE)
        if resource_class not in now.inventories:
            raise InvalidError(
                f"No inventory of class {resource_class} found for update on {provider_id}; create it first."
            )
    wanted = {**now.inventories, resource_class: inventory}
    return await set_inventories(cloud, caller, provider_id, wanted, generation)


async def delete_inventory(cloud: Cloud, caller: Caller, provider_id: str, resource_class: str) -> None:
    """Raises: as `set_inventories`; NotFoundError for a class it has not."""
    now = await get_provider(cloud, caller, provider_id)
    if resource_class not in now.inventories:
        raise NotFoundError(f"No inventory of class {resource_class} found for delete on {provider_id}")
    wanted = {name: each for name, each in now.inventories.items() if name != resource_class}
    await set_inventories(cloud, caller, provider_id, wanted, now.generation)


async def set_traits(
    cloud: Cloud, caller: Caller, provider_id: str, traits: tuple[str, ...], generation: int | None
) -> Provider:
    """Raises: ForbiddenError, NotFoundError, InvalidError (unknown ones), ConflictError."""
    policy.require(caller, "placement:providers:update")
    await need_known(cloud, {}, Traits(any_of=tuple(frozenset({name}) for name in traits)))
    command = ProviderSet(provider_id=provider_id, generation=generation, traits=traits)
    await propose_here(cloud, caller, command)
    return need_provider(await read_forest(cloud), provider_id)


async def set_aggregates(
    cloud: Cloud, caller: Caller, provider_id: str, aggregates: tuple[str, ...], generation: int | None
) -> Provider:
    """Raises: ForbiddenError, NotFoundError, ConflictError."""
    policy.require(caller, "placement:providers:update")
    command = ProviderSet(provider_id=provider_id, generation=generation, aggregates=aggregates)
    await propose_here(cloud, caller, command)
    return need_provider(await read_forest(cloud), provider_id)


async def need_known(cloud: Cloud, resources: Amounts, traits: Traits) -> None:
    """Raises InvalidError for a resource class or trait that nobody made: it is misspelt."""
    if resources:
        unknown = sorted(set(resources) - set(await known_classes(cloud)))
        if unknown:
            raise InvalidError(f"Invalid resource class in resources parameter: {', '.join(unknown)}")
    if traits.named():
        missing = sorted(traits.named() - await known_traits(cloud))
        if missing:
            raise InvalidError(f"No such trait(s): {', '.join(missing)}.")


def as_stock(inventories: Mapping[str, Inventory]) -> dict[str, ClassInventory]:
    """As commands carry them."""
    return {name: ClassInventory(**asdict(each)) for name, each in inventories.items()}
