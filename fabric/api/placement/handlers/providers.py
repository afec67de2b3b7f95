"""/resource_providers and what is below each."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from fabric.api.placement.answers import answer, location, nothing, path_uuid
from fabric.api.placement.filters import parse_member_of, parse_resources, parse_traits
from fabric.api.placement.versions import v
from fabric.api.placement.views import allocations as allocation_view
from fabric.api.placement.views import providers as view
from fabric.api.placement.views.allocations import uuid_from
from fabric.api.request import body, caller, cloud, microversion
from fabric.control.errors import NotFoundError
from fabric.control.placement import allocations, providers
from fabric.control.placement.providers import ProviderFilter
from fabric.core.providers.tree import Provider
from proto.ids import new_uuid


async def index(request: web.Request) -> web.Response:
    query, version = request.query, microversion(request)
    wanted = ProviderFilter(
        name=query.get("name"),
        provider_id=uuid_from(query["uuid"]) if "uuid" in query else None,
        in_tree=uuid_from(query["in_tree"]) if "in_tree" in query else None,
        resources=parse_resources(query["resources"]) if "resources" in query else {},
        traits=parse_traits(query.getall("required", []), version),
        member_of=parse_member_of(query.getall("member_of", []), version),
    )
    found = await providers.list_providers(cloud(request), caller(request), wanted)
    changed_ms = max((each.updated_ms for each in found), default=None)
    shown = [view.provider(each, version) for each in found]
    return answer(request, {"resource_providers": shown}, changed_ms=changed_ms)


async def create(request: web.Request) -> web.Response:
    """Before 1.20 without a body."""
    wanted, version = body(request), microversion(request)
    parent = wanted.get("parent_provider_uuid")
    made = await providers.create_provider(
        cloud(request),
        caller(request),
        provider_id=uuid_from(wanted["uuid"]) if "uuid" in wanted else new_uuid(),
        name=wanted["name"],
        parent_id=None if parent is None else uuid_from(parent),
    )
    where = location(request, view.path_of(made.provider_id))
    if version < v(20):
        return nothing(request, 201, headers=where)
    return answer(request, view.provider(made, version), changed_ms=made.updated_ms, headers=where)


async def show(request: web.Request) -> web.Response:
    return _provider(request, await _find(request))


async def update(request: web.Request) -> web.Response:
    wanted, version = body(request), microversion(request)
    if "parent_provider_uuid" in wanted:
        parent = wanted["parent_provider_uuid"]
        parent_id = None if parent is None else uuid_from(parent)
    else:
        parent_id = (await _find(request)).parent_id
    changed = await providers.update_provider(
        cloud(request),
        caller(request),
        path_uuid(request),
        name=wanted["name"],
        parent_id=parent_id,
        may_move=version >= v(37),
    )
    return _provider(request, changed)


async def delete(request: web.Request) -> web.Response:
    await providers.delete_provider(cloud(request), caller(request), path_uuid(request))
    return nothing(request)


async def inventories(request: web.Request) -> web.Response:
    found = await _find(request)
    return answer(request, view.inventories(found), changed_ms=found.updated_ms)


async def set_inventories(request: web.Request) -> web.Response:
    wanted = body(request)
    stock = {name: view.inventory_from(plain) for name, plain in wanted["inventories"].items()}
    changed = await providers.set_inventories(
        cloud(request), caller(request), path_uuid(request), stock, wanted["resource_provider_generation"]
    )
    return answer(request, view.inventories(changed), changed_ms=changed.updated_ms)


async def add_inventory(request: web.Request) -> web.Response:
    wanted = body(request)
    name = wanted["resource_class"]
    changed = await providers.add_inventory(
        cloud(request), caller(request), path_uuid(request), name, view.inventory_from(wanted)
    )
    where = location(request, f"{view.path_of(changed.provider_id)}/inventories/{name}")
    shown = view.one_inventory(changed, name)
    return answer(request, shown, status=201, changed_ms=changed.updated_ms, headers=where)


async def clear_inventories(request: web.Request) -> web.Response:
    await providers.set_inventories(cloud(request), caller(request), path_uuid(request), {}, None)
    return nothing(request)


async def inventory(request: web.Request) -> web.Response:
    found, name = await _find(request), request.match_info["resource_class"]
    if name not in found.inventories:
        raise NotFoundError(f"No inventory of class {name[:255]} for {found.provider_id}")
    return answer(request, view.one_inventory(found, name), changed_ms=found.updated_ms)


async def set_inventory(request: web.Request) -> web.Response:
    wanted, name = body(request), request.match_info["resource_class"]
    changed = await providers.set_inventory(
        cloud(request),
        caller(request),
        path_uuid(request),
        name,
        view.inventory_from(wanted),
        wanted["resource_provider_generation"],
    )
    return answer(request, view.one_inventory(changed, name), changed_ms=changed.updated_ms)


async def delete_inventory(request: web.Request) -> web.Response:
    name = request.match_info["resource_class"]
    await providers.delete_inventory(cloud(request), caller(request), path_uuid(request), name)
    return nothing(request)


async def usages(request: web.Request) -> web.Response:
    found = await allocations.usage_of_provider(cloud(request), caller(request), path_uuid(request))
    return answer(request, view.usages(found))


async def aggregates(request: web.Request) -> web.Response:
    found = await _find(request)
    return answer(request, view.aggregates(found, microversion(request)), changed_ms=found.updated_ms)


async def set_aggregates(request: web.Request) -> web.Response:
    """Before 1.19 the body is the list itself."""
    wanted: Any = body(request)
    ids, generation = wanted, None
    if microversion(request) >= v(19):
        ids, generation = wanted["aggregates"], wanted["resource_provider_generation"]
    changed = await providers.set_aggregates(
        cloud(request),
        caller(request),
        path_uuid(request),
        tuple(uuid_from(each) for each in ids),
        generation,
    )
    return answer(request, view.aggregates(changed, microversion(request)), changed_ms=changed.updated_ms)


async def traits(request: web.Request) -> web.Response:
    found = await _find(request)
    return answer(request, view.traits(found), changed_ms=found.updated_ms)


async def set_traits(request: web.Request) -> web.Response:
    wanted = body(request)
    changed = await providers.set_traits(
        cloud(request),
        caller(request),
        path_uuid(request),
        tuple(wanted["traits"]),
        wanted["resource_provider_generation"],
    )
    return answer(request, view.traits(changed), changed_ms=changed.updated_ms)


async def clear_traits(request: web.Request) -> web.Response:
    await providers.set_traits(cloud(request), caller(request), path_uuid(request), (), None)
    return nothing(request)


async def holders(request: web.Request) -> web.Response:
    found, consumers = await allocations.list_holders(cloud(request), caller(request), path_uuid(request))
    return answer(request, allocation_view.of_provider(found, consumers, microversion(request)))


async def _find(request: web.Request) -> Provider:
    return await providers.get_provider(cloud(request), caller(request), path_uuid(request))


def _provider(request: web.Request, value: Provider) -> web.Response:
    shown = view.provider(value, microversion(request))
    return answer(request, shown, changed_ms=value.updated_ms)
