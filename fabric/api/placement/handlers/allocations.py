"""/allocations, /allocation_candidates, /usages and /reshaper."""

from __future__ import annotations

from aiohttp import web

from fabric.api.faults import ApiError
from fabric.api.placement.answers import answer, nothing, path_uuid
from fabric.api.placement.candidate_query import parse_candidate_query
from fabric.api.placement.views import allocations as view
from fabric.api.placement.views.allocations import holds_from, uuid_from
from fabric.api.placement.views.providers import inventory_from
from fabric.api.request import body, caller, cloud, microversion
from fabric.control.placement import allocations, candidates
from fabric.control.placement.providers import as_stock
from proto.commands.providers import ProviderStock
from proto.ids import is_uuid

CUT_HEADER = "X-Fabric-Candidates-Cut"  # the search was ended at its bound


async def show(request: web.Request) -> web.Response:
    consumer_id = _consumer_id(request)
    found, forest = await allocations.get_consumer(cloud(request), caller(request), consumer_id)
    changed_ms = None if found is None else found.updated_ms
    return answer(request, view.of_consumer(found, forest, microversion(request)), changed_ms=changed_ms)


async def update(request: web.Request) -> web.Response:
    holds = holds_from(_consumer_id(request), body(request), microversion(request))
    await allocations.set_allocations(cloud(request), caller(request), (holds,))
    return nothing(request)


async def update_many(request: web.Request) -> web.Response:
    version = microversion(request)
    holds = [holds_from(uuid_from(key), plain, version) for key, plain in body(request).items()]
    await allocations.set_allocations(cloud(request), caller(request), holds)
    return nothing(request)


async def delete(request: web.Request) -> web.Response:
    await allocations.delete_allocations(cloud(request), caller(request), _consumer_id(request))
    return nothing(request)


async def list_candidates(request: web.Request) -> web.Response:
    version = microversion(request)
    wanted = parse_candidate_query(request.query, version)
    found, forest = await candidates.list_candidates(cloud(request), caller(request), wanted)
    headers = {} if found.is_whole else {CUT_HEADER: str(len(found.requests))}
    return answer(request, view.candidates(found, forest, wanted, version), headers=headers)


async def usages(request: web.Request) -> web.Response:
    query = request.query
    found = await allocations.usages_of_project(
        cloud(request),
        caller(request),
        query["project_id"],
        query.get("user_id"),
        query.get("consumer_type"),
    )
    return answer(request, view.usages(found, microversion(request)))


async def reshape(request: web.Request) -> web.Response:
    wanted, version = body(request), microversion(request)
    stocks = [
        ProviderStock(
            provider_id=uuid_from(key),
            generation=plain["resource_provider_generation"],
            inventories=as_stock({name: inventory_from(each) for name, each in plain["inventories"].items()}),
        )
        for key, plain in wanted["inventories"].items()
    ]
    holds = [holds_from(uuid_from(key), plain, version) for key, plain in wanted["allocations"].items()]
    await allocations.reshape(cloud(request), caller(request), stocks, holds)
    return nothing(request)


def _consumer_id(request: web.Request) -> str:
    consumer_id = path_uuid(request, "consumer_id")
    if not is_uuid(consumer_id):
        raise ApiError(400, f"Malformed consumer uuid {consumer_id[:64]}.")
    return consumer_id
