"""Who holds what: servers by their rows, outside consumers by what they said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fabric.control import policy
from fabric.control.context import Caller, Cloud
from fabric.control.errors import InvalidError, NotFoundError
from fabric.control.placement.forest import known_classes, need_provider, propose_here, read_forest
from fabric.control.placement.providers import INVENTORY_IN_USE
from fabric.core.providers.claims import added
from fabric.core.providers.model import Consumer
from fabric.core.providers.queries import ListConsumers
from fabric.core.providers.tree import Forest, Provider
from proto.commands.providers import AllocationsSet, ConsumerHolds, ProvidersReshape, ProviderStock
from proto.ids import ProjectId

UNKNOWN = "unknown"  # the type of consumers that have none
ALL = "all"  # their types do not matter


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeUsage:
    """What the consumers of one type hold together."""

    consumers: int
    used: Mapping[str, int]


async def get_consumer(cloud: Cloud, caller: Caller, consumer_id: str) -> tuple[Consumer | None, Forest]:
    """None: it holds nothing. The providers come along for their generations. Raises ForbiddenError."""
    policy.require(caller, "placement:allocations:show")
    found = await cloud.state.read(ListConsumers(consumer_ids=(consumer_id,)))
    return (found[0] if found else None), await read_forest(cloud)


async def list_holders(
    cloud: Cloud, caller: Caller, provider_id: str
) -> tuple[Provider, tuple[Consumer, ...]]:
    """Who holds something of the provider. Raises ForbiddenError, NotFoundError."""
    policy.require(caller, "placement:allocations:list")
    provider = need_provider(await read_forest(cloud), provider_id)
    return provider, await cloud.state.read(ListConsumers(provider_id=provider_id))


async def set_allocations(cloud: Cloud, caller: Caller, consumers: Sequence[ConsumerHolds]) -> None:
    """All or nothing. Raises: ForbiddenError, InvalidError (provider or class unknown), ConflictError
    (generation, no room, a server or a host: those say themselves)."""
    policy.require(caller, "placement:allocations:update")
    await _need_known(cloud, consumers)
    await propose_here(cloud, caller, AllocationsSet(consumers=tuple(consumers)))


async def delete_allocations(cloud: Cloud, caller: Caller, consumer_id: str) -> None:
    """Raises: ForbiddenError, NotFoundError (it holds nothing), ConflictError (it is a server)."""
    policy.require(caller, "placement:allocations:delete")
    found = await cloud.state.read(ListConsumers(consumer_ids=(consumer_id,)))
    if not found:
        raise NotFoundError(f"No allocations for consumer '{consumer_id}'")
    now = found[0]
    nothing = ConsumerHolds(consumer_id=consumer_id, project_id=now.project_id, user_id=now.user_id)
    await propose_here(cloud, caller, AllocationsSet(consumers=(nothing,)))


async def reshape(
    cloud: Cloud, caller: Caller, stocks: Sequence[ProviderStock], consumers: Sequence[ConsumerHolds]
) -> None:
    """Raises: as `set_allocations` and `set_inventories`."""
    policy.require(caller, "placement:reshape")
    await _need_known(cloud, consumers)
    command = ProvidersReshape(stocks=tuple(stocks), consumers=tuple(consumers))
    try:
        await propose_here(cloud, caller, command, in_use=INVENTORY_IN_USE)
    except NotFoundError as error:
        raise InvalidError(error.message) from error


async def usage_of_provider(cloud: Cloud, caller: Caller, provider_id: str) -> Provider:
    """Raises ForbiddenError, NotFoundError."""
    policy.require(caller, "placement:providers:show")
    return need_provider(await read_forest(cloud, with_used=True), provider_id)


async def usages_of_project(
    cloud: Cloud, caller: Caller, project_id: str, user_id: str | None, consumer_type: str | None
) -> dict[str, TypeUsage]:
    """By consumer type; under ALL together when that is asked for. Raises ForbiddenError."""
    policy.require(caller, "placement:usages:show")
    if not policy.can_see(caller, ProjectId(project_id)):
        policy.require(caller, "placement:allocations:list")
    by_type: dict[str, list[Consumer]] = {}
    for each in await cloud.state.read(ListConsumers(project_id=project_id, user_id=user_id)):
        kind = each.consumer_type or UNKNOWN
        if consumer_type in (None, ALL, kind):
            by_type.setdefault(ALL if consumer_type == ALL else kind, []).append(each)
    return {kind: _together(by_type[kind]) for kind in sorted(by_type)}


def _together(consumers: Sequence[Consumer]) -> TypeUsage:
    used: dict[str, int] = {}
    for consumer in consumers:
        for held in consumer.allocations.values():
            added(used, held)
    return TypeUsage(consumers=len(consumers), used={name: used[name] for name in sorted(used)})


async def _need_known(cloud: Cloud, consumers: Sequence[ConsumerHolds]) -> None:
    """Raises InvalidError: what is named in a body and is not there is a bad body."""
    forest = await read_forest(cloud)
    classes = set(await known_classes(cloud))
    for consumer in consumers:
        for held in consumer.held:
            if forest.get(held.provider_id) is None:
                raise InvalidError(
                    f"Allocation for resource provider '{held.provider_id}' that does not exist."
                )
            if held.resource_class not in classes:
                raise InvalidError(
                    f"Unable to allocate inventory for resource class {held.resource_class}: there is none."
                )
