"""All providers at one moment, and proposing changes to them in Placement's words."""

from __future__ import annotations

from fabric.control.context import Caller, Cloud
from fabric.control.errors import ConflictError, NotFoundError
from fabric.control.propose import propose
from fabric.core.placement.resources import STANDARD_CLASSES
from fabric.core.providers.queries import GetProviderRows, ListResourceClasses, ListTraits
from fabric.core.providers.standard_traits import STANDARD_TRAITS
from fabric.core.providers.tree import Forest, Provider
from fabric.core.queries import Applied
from fabric.errors import CommandRejectedError
from proto.commands import Command

CONCURRENT_UPDATE = "placement.concurrent_update"
_CODES = {
    "stale": CONCURRENT_UPDATE,
    "has_children": "placement.resource_provider.cannot_delete_parent",
}


async def read_forest(cloud: Cloud, *, with_used: bool = False) -> Forest:
    return Forest(await cloud.state.read(GetProviderRows(with_used=with_used)))


def need_provider(forest: Forest, provider_id: str) -> Provider:
    """Raises NotFoundError."""
    provider = forest.get(provider_id)
    if provider is None:
        raise NotFoundError(f"No resource provider with uuid {provider_id} found")
    return provider


async def known_classes(cloud: Cloud) -> tuple[str, ...]:
    """Standard ones first, then those somebody made."""
    made = await cloud.state.read(ListResourceClasses())
    return (*STANDARD_CLASSES, *(row.name for row in made))


async def known_traits(cloud: Cloud) -> frozenset[str]:
    return STANDARD_TRAITS.union(row.name for row in await cloud.state.read(ListTraits()))


async def propose_here(cloud: Cloud, caller: Caller, command: Command, *, in_use: str = "") -> Applied:
    """`in_use`: Placement's code for that rejection. Raises a ControlError."""
    try:
        return await propose(cloud, command, request_id=caller.request_id)
    except CommandRejectedError as error:  # a generation that is not the present one
        raise ConflictError(error.message, type_name=_CODES.get(error.reason)) from error
    except ConflictError as error:
        cause = error.__cause__
        reason = cause.reason if isinstance(cause, CommandRejectedError) else ""
        code = in_use if reason == "in_use" and in_use else _CODES.get(reason)
        raise ConflictError(error.message, type_name=code) from error
