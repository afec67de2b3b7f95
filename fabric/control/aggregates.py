"""Host aggregates. Admins only."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fabric.control import policy
from fabric.control.context import Caller, Cloud
from fabric.control.errors import InvalidError, NotFoundError
from fabric.control.propose import propose
from fabric.control.services import INTERNAL_ZONE
from fabric.core.aggregates.model import ZONE_KEY, Aggregate
from fabric.core.aggregates.queries import GetAggregate, ListAggregates
from fabric.core.images.queries import GetImage
from fabric.core.nodes.queries import ListHosts
from fabric.core.servers.model import ImageSource
from fabric.errors import FabricError
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

log = logging.getLogger(__name__)

TOLD_AT_ONCE = 64  # hosts


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
    """Raises: ForbiddenError, ConflictError (the name is taken), InvalidError (the zone)."""
    policy.require(caller, "compute:aggregates:create")
    _check_zone(availability_zone)
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
    _check_zone(availability_zone)
    command = AggregateUpdate(aggregate_id=aggregate_id, name=name, availability_zone=availability_zone)
    return await _change(cloud, caller, command, aggregate_id)


async def set_metadata(
    cloud: Cloud, caller: Caller, aggregate_id: int, changes: Mapping[str, str | None]
) -> NamedAggregate:
    """Merged into what is there; None takes a key away.

    Raises: ForbiddenError, NotFoundError, InvalidError (the zone).
    """
    policy.require(caller, "compute:aggregates:set_metadata")
    _check_zone(changes.get(ZONE_KEY))
    command = AggregateSetMetadata(
        aggregate_id=aggregate_id,
        changes={key: value for key, value in changes.items() if value is not None},
        unset=tuple(sorted(key for key, value in changes.items() if value is None)),
    )
    return await _change(cloud, caller, command, aggregate_id)


def _check_zone(zone: str | None) -> None:
    if zone == INTERNAL_ZONE:
        raise InvalidError(
            f"availability_zone: {zone} is where services are that run no servers; name another."
        )


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
    """Its hosts are told, and fetch them in the background. As in Nova nobody remembers the wish for a host
    that does not answer.

    Raises: ForbiddenError, NotFoundError (the aggregate), InvalidError (an image, or one named twice).
    """
    policy.require(caller, "compute:aggregates:images")
    if len(set(image_ids)) != len(image_ids):
        raise InvalidError("Duplicate images in request")
    aggregate = (await _find(cloud, aggregate_id)).aggregate
    sources = [await _source(cloud, image_id) for image_id in image_ids]
    slots = asyncio.Semaphore(TOLD_AT_ONCE)
    async with asyncio.TaskGroup() as group:
        for host_id in filter(cloud.fleet.is_alive, aggregate.host_ids):
            group.create_task(_tell(cloud, host_id, sources, slots))


async def _source(cloud: Cloud, image_id: str) -> ImageSource:
    image = await cloud.state.read(GetImage(image_id=ImageId(image_id)))
    if image is None:
        raise InvalidError(f"Image {image_id} could not be found.")
    if image.sha256 is None or image.size_bytes is None or image.node_id is None:
        raise InvalidError(f"Image {image_id} is not active.")
    return ImageSource(
        image_id=image.image_id,
        sha256=image.sha256,
        size_bytes=image.size_bytes,
        disk_format=image.disk_format or "raw",
        node_id=image.node_id,
        min_disk_gb=image.min_disk_gb,
    )


async def _tell(cloud: Cloud, host_id: NodeId, sources: list[ImageSource], slots: asyncio.Semaphore) -> None:
    async with slots:
        try:
            await cloud.hosts.cache_images(host_id, sources)
        except FabricError as error:
            log.warning("host not told to cache images", extra={"node": host_id, "error": str(error)})


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
