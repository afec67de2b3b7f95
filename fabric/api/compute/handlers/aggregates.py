"""/os-aggregates."""

from __future__ import annotations

from aiohttp import web

from fabric.api.compute.views import aggregates as view
from fabric.api.faults import ApiError
from fabric.api.request import body, caller, cloud, microversion
from fabric.api.responses import empty_response, json_response
from fabric.control import aggregates
from fabric.control.aggregates import NamedAggregate

NUMBER_MAX = (1 << 63) - 1


def _aggregate_id(request: web.Request) -> int:
    text = request.match_info["aggregate_id"]
    if not (text.isascii() and text.isdigit()):
        raise ApiError(400, "Invalid input received: id must be an integer")
    number = int(text[:20])
    if number > NUMBER_MAX:
        raise ApiError(404, f"Aggregate {text[:64]} could not be found.")
    return number


def _answer(request: web.Request, found: NamedAggregate) -> web.Response:
    return json_response({"aggregate": view.shown(found, microversion(request))})


async def index(request: web.Request) -> web.Response:
    found = await aggregates.list_aggregates(cloud(request), caller(request))
    version = microversion(request)
    return json_response({"aggregates": [view.shown(each, version) for each in found]})


async def create(request: web.Request) -> web.Response:
    wanted = body(request)["aggregate"]
    made = await aggregates.create_aggregate(
        cloud(request),
        caller(request),
        name=wanted["name"],
        availability_zone=wanted.get("availability_zone"),
    )
    return json_response({"aggregate": view.created(made, microversion(request))})


async def show(request: web.Request) -> web.Response:
    found = await aggregates.get_aggregate(cloud(request), caller(request), _aggregate_id(request))
    return _answer(request, found)


async def update(request: web.Request) -> web.Response:
    wanted = body(request)["aggregate"]
    zone = wanted.get("availability_zone")
    if "availability_zone" in wanted and zone is None:
        zone = ""  # which no aggregate may be, and the answer says so
    changed = await aggregates.update_aggregate(
        cloud(request),
        caller(request),
        _aggregate_id(request),
        name=wanted["name"].strip() if "name" in wanted else None,
        availability_zone=zone,
    )
    return _answer(request, changed)


async def delete(request: web.Request) -> web.Response:
    await aggregates.delete_aggregate(cloud(request), caller(request), _aggregate_id(request))
    return empty_response(200)


async def act(request: web.Request) -> web.Response:
    """The schema let one action through."""
    ((action, wanted),) = body(request).items()
    who, where, aggregate_id = caller(request), cloud(request), _aggregate_id(request)
    if action == "set_metadata":
        changed = await aggregates.set_metadata(where, who, aggregate_id, wanted["metadata"])
    elif action == "add_host":
        changed = await aggregates.add_host(where, who, aggregate_id, wanted["host"])
    else:
        changed = await aggregates.remove_host(where, who, aggregate_id, wanted["host"])
    return _answer(request, changed)


async def cache_images(request: web.Request) -> web.Response:
    image_ids = tuple(image["id"].lower() for image in body(request)["cache"])
    await aggregates.cache_images(cloud(request), caller(request), _aggregate_id(request), image_ids)
    return empty_response(202)
