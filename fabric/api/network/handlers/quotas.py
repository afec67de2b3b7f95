"""Network quotas over HTTP."""

from __future__ import annotations

from aiohttp import web

from fabric.api.request import body, caller, cloud
from fabric.api.responses import empty_response, json_response
from fabric.control import network_quotas
from fabric.control.errors import InvalidError
from proto.ids import ProjectId


async def show(request: web.Request) -> web.Response:
    usage = await network_quotas.get_quotas(cloud(request), caller(request), _project_id(request))
    return json_response({"quota": dict(usage.limits)})


async def detail(request: web.Request) -> web.Response:
    usage = await network_quotas.get_quotas(cloud(request), caller(request), _project_id(request))
    quota = {
        name: {"limit": limit, "used": usage.used[name], "reserved": 0}
        for name, limit in usage.limits.items()
    }
    return json_response({"quota": quota})


async def index(request: web.Request) -> web.Response:
    """Only projects that have quotas of their own, as in Neutron."""
    found = await network_quotas.list_quotas(cloud(request), caller(request))
    quotas = [
        {**limits, "project_id": project_id, "tenant_id": project_id} for project_id, limits in found.items()
    ]
    return json_response({"quotas": quotas})


async def default(request: web.Request) -> web.Response:
    limits = await network_quotas.default_quotas(cloud(request), caller(request), _project_id(request))
    return json_response({"quota": dict(limits)})


async def update(request: web.Request) -> web.Response:
    attributes = body(request)["quota"]
    limits = {name: value for name, value in attributes.items() if name in network_quotas.RESOURCES}
    usage = await network_quotas.set_quotas(
        cloud(request),
        caller(request),
        _project_id(request),
        limits,
        check_usage=attributes.get("check_limit", False) and not attributes.get("force", False),
    )
    return json_response({"quota": dict(usage.limits)})


async def reset(request: web.Request) -> web.Response:
    await network_quotas.reset_quotas(cloud(request), caller(request), _project_id(request))
    return empty_response(204)


async def own_project(request: web.Request) -> web.Response:
    """`GET /quotas/tenant`: whose quotas the caller's token is about."""
    project_id = caller(request).project_id
    if project_id is None:
        raise InvalidError("The token has no project.")
    return json_response({"tenant": {"tenant_id": project_id}})


def _project_id(request: web.Request) -> ProjectId:
    return ProjectId(request.match_info["project_id"])
