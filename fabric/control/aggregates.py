"""Host aggregates. Admins only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fabric.control import policy
from fabric.control.context import Caller, Cloud
from fabric.control.errors import InvalidError, NotFoundError
from fabric.control.propose import propose
from fabric.core.aggregates.model import Aggregate
from fabric.core.aggregates.queries import GetAggregate, ListAggregates
from fabric.core.images.queries import GetImage
from fabric.core.nodes.queries import ListHosts
from proto.commands import Command
from proto.commands.aggregates import (
    AggregateAddHost,
    AggregateCreate,
    AggregateDelete,
    AggregateRemoveHost,
    AggregateSetMetadata,
    AggregateUpdate,
)
from proto.ids import ImageId, NodeId, new_uuid


@dataclass(frozen=True, slots=True)
class NamedAggregate:
    """An aggregate with its hosts as clients call them."""

    aggregate: Aggregate
    hosts: tuple[str, ...]


async def list_aggregates(cloud: Cloud, caller: Caller) -> tuple[NamedAggregate, ...]:
    """By number. Raises: ForbiddenError."""
    policy.require(caller, "compute:aggregates:list")
    names = await _host_names(cloud)
    return tuple(_named(aggregate, names) for aggregate in await cloud.state.read(ListAggregates()))


async def get_aggregate(cloud: Cloud, caller: Caller, aggregate_id: int) -> NamedAggregate:
    """Raises: ForbiddenError, NotFoundError."""
    policy.require(caller, "compute:aggregates:show")
    return await _find(cloud, aggregate_id)


async def create_aggregate(
    cloud: Cloud, caller: Caller, *, name: str, availability_zone: str | None
) -> NamedAggregate:
    """Raises: ForbiddenError, ConflictError (the name is taken)."""
    policy.require(caller, "compute:aggregates:create")
    command = AggregateCreate(uuid=new_uuid(), name=name, availability_zone=availability_zone)
    applied = await propose(cloud, command, request_id=caller.request_id)
    return await _find(cloud, int(str(applied.result["aggregate_id"])))


async def update_aggregate(
    cloud: Cloud, caller: Caller, aggregate_id: int, *, name: str | None, availability_zone: str | None
) -> NamedAggregate:
    """Fields left None stay; an `availability_zone` of "" is refused as Nova does.

    Raises: ForbiddenError, NotFoundError, ConflictError (the name is taken), InvalidError (the zone).
    """
    policy.require(caller, "compute:aggregates:update")
    command = AggregateUpdate(aggregate_id=aggregate_id, name=name, availability_zone=availability_zone)
    return await _change(cloud, caller, command, aggregate_id)


async def set_metadata(
    cloud: Cloud, caller: Caller, aggregate_id: int, changes: Mapping[str, str | None]
) -> NamedAggregate:
    """Merged into what is there; None takes a key away.

    Raises: ForbiddenError, NotFoundError, InvalidError (the zone).
    """
    policy.require(caller, "compute:aggregates:set_metadata")
    command = AggregateSetMetadata(
        aggregate_id=aggregate_id,
        changes={key: value for key, value in changes.items() if value is not None},
        unset=tuple(sorted(key for key, value in changes.items() if value is None)),
    )
    return await _change(cloud, caller, command, aggregate_id)


async def add_host(cloud: Cloud, caller: Caller, aggregate_id: int, host_name: str) -> NamedAggregate:
    """Raises: ForbiddenError, NotFoundError (aggregate, host), ConflictError (in it already; the zone)."""
    policy.require(caller, "compute:aggregates:add_host")
    host_id = await _host_id(cloud, host_name)
    if host_id is None:
        raise NotFoundError(f"Compute host {host_name} could not be found.")
    command = AggregateAddHost(aggregate_id=aggregate_id, host_id=host_id)
    return await _change(cloud, caller, command, aggregate_id)


async def remove_host(cloud: Cloud, caller: Caller, aggregate_id: int, host_name: str) -> NamedAggregate:
    """Raises: ForbiddenError, NotFoundError (aggregate, host, not in it), ConflictError (the zone)."""
    policy.require(caller, "compute:aggregates:remove_host")
    host_id = await _host_id(cloud, host_name)
    missing = NotFoundError(f"Cannot remove host {host_name} in aggregate {aggregate_id}")
    if host_id is None:
        raise missing
    command = AggregateRemoveHost(aggregate_id=aggregate_id, host_id=host_id)
    try:
        return await _change(cloud, caller, command, aggregate_id)
    except NotFoundError as error:
        raise missing from error


async def delete_aggregate(cloud: Cloud, caller: Caller, aggregate_id: int) -> None:
    """Raises: ForbiddenError, NotFoundError, InvalidError (it has hosts)."""
    policy.require(caller, "compute:aggregates:delete")
    await propose(cloud, AggregateDelete(aggregate_id=aggregate_id), request_id=caller.request_id)


async def cache_images(cloud: Cloud, caller: Caller, aggregate_id: int, image_ids: tuple[str, ...]) -> None:
    """Only checks: a host fetches an image when a server first needs it, and nobody can tell it to sooner.

    Raises: ForbiddenError, NotFoundError (the aggregate), InvalidError (an image, or one named twice).
    """
    policy.require(caller, "compute:aggregates:images")
    if len(set(image_ids)) != len(image_ids):
        raise InvalidError("Duplicate images in request")
    await _find(cloud, aggregate_id)
    for image_id in image_ids:
        if await cloud.state.read(GetImage(image_id=ImageId(image_id))) is None:
            raise InvalidError(f"Image {image_id} could not be found.")


async def _change(cloud: Cloud, caller: Caller, command: Command, aggregate_id: int) -> NamedAggregate:
    await propose(cloud, command, request_id=caller.request_id)
    return await _find(cloud, aggregate_id)


async def _find(cloud: Cloud, aggregate_id: int) -> NamedAggregate:
    aggregate = await cloud.state.read(GetAggregate(aggregate_id=aggregate_id))
    if aggregate is None:
        raise NotFoundError(f"Aggregate {aggregate_id} could not be found.")
    return _named(aggregate, await _host_names(cloud))


def _named(aggregate: Aggregate, names: Mapping[NodeId, str]) -> NamedAggregate:
    return NamedAggregate(aggregate, tuple(_known(aggregate.host_ids, names)))


def _known(host_ids: Iterable[NodeId], names: Mapping[NodeId, str]) -> Iterable[str]:
    """Without a host that left between two reads."""
    return (names[host_id] for host_id in host_ids if host_id in names)


async def _host_names(cloud: Cloud) -> Mapping[NodeId, str]:
    return {usage.host.host_id: usage.host.name for usage in await cloud.state.read(ListHosts())}


async def _host_id(cloud: Cloud, name: str) -> NodeId | None:
    names = await _host_names(cloud)
    return next((host_id for host_id, each in names.items() if each == name), None)
