"""/v3/registered_limits."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from fabric.api.identity.handlers.query import self_href
from fabric.api.identity.views.collection import collection
from fabric.api.identity.views.limits import registered_limit_view
from fabric.api.request import base_url, body, caller, cloud
from fabric.api.responses import empty_response, json_response
from fabric.control import unified_limits
from fabric.control.unified_limits import LimitFilter, RegisteredLimitWish


async def index(request: web.Request) -> web.Response:
    query = request.query
    wanted = LimitFilter(
        service_id=query.get("service_id"),
        region_id=query.get("region_id"),
        resource_name=query.get("resource_name"),
    )
    found = await unified_limits.list_registered(cloud(request), caller(request), wanted)
    views = [registered_limit_view(each, base_url(request)) for each in found]
    return json_response(collection("registered_limits", views, self_href(request)))


async def show(request: web.Request) -> web.Response:
    found = await unified_limits.get_registered(cloud(request), caller(request), _id(request))
    return json_response({"registered_limit": registered_limit_view(found, base_url(request))})


async def create(request: web.Request) -> web.Response:
    wishes = [_wish(each) for each in body(request)["registered_limits"]]
    made = await unified_limits.create_registered(cloud(request), caller(request), wishes)
    views = [registered_limit_view(each, base_url(request)) for each in made]
    return json_response({"registered_limits": views}, status=201)


async def update(request: web.Request) -> web.Response:
    """What is not named stays as it is."""
    former = await unified_limits.get_registered(cloud(request), caller(request), _id(request))
    view = registered_limit_view(former, base_url(request))
    wish = _wish({**view, **body(request)["registered_limit"]})
    limit = await unified_limits.update_registered(cloud(request), caller(request), _id(request), wish)
    return json_response({"registered_limit": registered_limit_view(limit, base_url(request))})


async def delete(request: web.Request) -> web.Response:
    await unified_limits.delete_registered(cloud(request), caller(request), _id(request))
    return empty_response()


def _wish(wanted: dict[str, Any]) -> RegisteredLimitWish:
    return RegisteredLimitWish(
        service_id=wanted["service_id"],
        resource_name=wanted["resource_name"],
        region_id=wanted.get("region_id"),
        default_limit=wanted["default_limit"],
        description=wanted.get("description"),
    )


def _id(request: web.Request) -> str:
    return request.match_info["limit_id"]
