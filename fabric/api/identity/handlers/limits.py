"""/v3/limits."""

from __future__ import annotations

from aiohttp import web

from fabric.api.identity.handlers.query import self_href
from fabric.api.identity.views.collection import collection
from fabric.api.identity.views.limits import limit_view
from fabric.api.request import base_url, body, caller, cloud
from fabric.api.responses import empty_response, json_response
from fabric.control import policy, unified_limits
from fabric.control.unified_limits import LimitFilter, LimitWish
from fabric.core.quotas.unified import MODEL_DESCRIPTION, MODEL_NAME


async def model(request: web.Request) -> web.Response:
    policy.require(caller(request), "identity:limits:list")
    return json_response({"model": {"name": MODEL_NAME, "description": MODEL_DESCRIPTION}})


async def index(request: web.Request) -> web.Response:
    query = request.query
    wanted = LimitFilter(
        service_id=query.get("service_id"),
        region_id=query.get("region_id"),
        resource_name=query.get("resource_name"),
        project_id=query.get("project_id"),
        domain_id=query.get("domain_id"),
    )
    found = await unified_limits.list_limits(cloud(request), caller(request), wanted)
    views = [limit_view(each, base_url(request)) for each in found]
    return json_response(collection("limits", views, self_href(request)))


async def show(request: web.Request) -> web.Response:
    found = await unified_limits.get_limit(cloud(request), caller(request), _id(request))
    return json_response({"limit": limit_view(found, base_url(request))})


async def create(request: web.Request) -> web.Response:
    wishes = [
        LimitWish(
            project_id=each.get("project_id"),
            domain_id=each.get("domain_id"),
            service_id=each["service_id"],
            resource_name=each["resource_name"],
            region_id=each.get("region_id"),
            resource_limit=each["resource_limit"],
            description=each.get("description"),
        )
        for each in body(request)["limits"]
    ]
    made = await unified_limits.create_limits(cloud(request), caller(request), wishes)
    return json_response({"limits": [limit_view(each, base_url(request)) for each in made]}, status=201)


async def update(request: web.Request) -> web.Response:
    """What is not named stays as it is."""
    wanted = body(request)["limit"]
    former = await unified_limits.get_limit(cloud(request), caller(request), _id(request))
    limit = await unified_limits.update_limit(
        cloud(request),
        caller(request),
        _id(request),
        resource_limit=wanted.get("resource_limit", former.resource_limit),
        description=wanted.get("description", former.description),
    )
    return json_response({"limit": limit_view(limit, base_url(request))})


async def delete(request: web.Request) -> web.Response:
    await unified_limits.delete_limit(cloud(request), caller(request), _id(request))
    return empty_response()


def _id(request: web.Request) -> str:
    return request.match_info["limit_id"]
