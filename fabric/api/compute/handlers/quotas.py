"""/limits and /os-quota-sets."""

from __future__ import annotations

from aiohttp import web

from fabric.api.compute.schemas.parameters import as_boolean, as_integer
from fabric.api.compute.views import quotas as view
from fabric.api.faults import ApiError
from fabric.api.request import body, caller, cloud, microversion
from fabric.api.responses import empty_response, json_response
from fabric.control import limits

_NOT_LIMITS = frozenset({"force", "tenant_id"})


def _project_id(request: web.Request) -> str:
    return request.match_info["project_id"]


async def show_limits(request: web.Request) -> web.Response:
    usage = await limits.show_limits(cloud(request), caller(request), request.query.get("tenant_id"))
    absolute = view.absolute_limits(usage, microversion(request))
    return json_response({"limits": {"rate": [], "absolute": absolute}})


async def show(request: web.Request) -> web.Response:
    usage = await limits.show_quotas(cloud(request), caller(request), _project_id(request))
    quota_set = view.quota_set(usage.limits, microversion(request), _project_id(request))
    return json_response({"quota_set": quota_set})


async def detail(request: web.Request) -> web.Response:
    usage = await limits.show_quotas(cloud(request), caller(request), _project_id(request))
    quota_set = view.quota_set_detail(usage, microversion(request), _project_id(request))
    return json_response({"quota_set": quota_set})


async def defaults(request: web.Request) -> web.Response:
    values = await limits.default_quotas(cloud(request), caller(request))
    return json_response({"quota_set": view.quota_set(values, microversion(request), _project_id(request))})


async def update(request: web.Request) -> web.Response:
    wanted = body(request)["quota_set"]
    numbers: dict[str, int] = {}
    for name, value in wanted.items():
        if name in _NOT_LIMITS:
            continue
        number = as_integer(value, -1)
        if number is None:
            raise ApiError(400, f"Invalid input for field/attribute {name}: it must be -1 or more.")
        numbers[name] = number
    usage = await limits.set_quotas(
        cloud(request),
        caller(request),
        _project_id(request),
        numbers,
        force=as_boolean(wanted.get("force", False)),
    )
    return json_response({"quota_set": view.quota_set(usage.limits, microversion(request))})


async def delete(request: web.Request) -> web.Response:
    await limits.reset_quotas(cloud(request), caller(request), _project_id(request))
    return empty_response(202)
