"""/limits, /os-quota-sets and /os-quota-class-sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from fabric.api.compute.schemas.parameters import as_boolean, as_integer
from fabric.api.compute.views import quotas as view
from fabric.api.faults import ApiError
from fabric.api.request import body, caller, cloud, microversion
from fabric.api.responses import empty_response, json_response
from fabric.control import limits, quota_classes
from fabric.core.quotas.model import QuotaUsage

_NOT_LIMITS = frozenset({"force", "tenant_id"})
_NAME_CHARS_MAX = 255


def _project_id(request: web.Request) -> str:
    return request.match_info["project_id"]


def _user_id(request: web.Request) -> str | None:
    return request.query.get("user_id")


async def show_limits(request: web.Request) -> web.Response:
    usage = await limits.show_limits(cloud(request), caller(request), request.query.get("tenant_id"))
    absolute = view.absolute_limits(usage, microversion(request))
    return json_response({"limits": {"rate": [], "absolute": absolute}})


async def show(request: web.Request) -> web.Response:
    usage = await _usage(request)
    quota_set = view.quota_set(usage.limits, microversion(request), _project_id(request))
    return json_response({"quota_set": quota_set})


async def detail(request: web.Request) -> web.Response:
    usage = await _usage(request)
    quota_set = view.quota_set_detail(usage, microversion(request), _project_id(request))
    return json_response({"quota_set": quota_set})


async def defaults(request: web.Request) -> web.Response:
    values = await limits.default_quotas(cloud(request), caller(request), _project_id(request))
    return json_response({"quota_set": view.quota_set(values, microversion(request), _project_id(request))})


async def update(request: web.Request) -> web.Response:
    wanted = body(request)["quota_set"]
    usage = await limits.set_quotas(
        cloud(request),
        caller(request),
        _project_id(request),
        _numbers(wanted),
        user_id=_user_id(request),
        force=as_boolean(wanted.get("force", False)),
    )
    return json_response({"quota_set": view.quota_set(usage.limits, microversion(request))})


async def delete(request: web.Request) -> web.Response:
    await limits.reset_quotas(
        cloud(request), caller(request), _project_id(request), user_id=_user_id(request)
    )
    return empty_response(202)


async def show_class(request: web.Request) -> web.Response:
    name = request.match_info["name"]
    values = await quota_classes.show_class(cloud(request), caller(request), name)
    return json_response({"quota_class_set": view.quota_class_set(values, microversion(request), name)})


async def update_class(request: web.Request) -> web.Response:
    name = request.match_info["name"]
    if len(name) > _NAME_CHARS_MAX:
        raise ApiError(400, f"quota_class_name has {len(name)} characters, more than {_NAME_CHARS_MAX}.")
    numbers = _numbers(body(request)["quota_class_set"])
    values = await quota_classes.set_class(cloud(request), caller(request), name, numbers)
    return json_response({"quota_class_set": view.quota_class_set(values, microversion(request))})


async def _usage(request: web.Request) -> QuotaUsage:
    return await limits.show_quotas(
        cloud(request), caller(request), _project_id(request), user_id=_user_id(request)
    )


def _numbers(wanted: Mapping[str, Any]) -> dict[str, int]:
    """By our names. Raises ApiError for text that is no limit."""
    numbers: dict[str, int] = {}
    for name, value in wanted.items():
        if name in _NOT_LIMITS:
            continue
        number = as_integer(value, -1)
        if number is None:
            raise ApiError(400, f"Invalid input for field/attribute {name}: it must be -1 or more.")
        numbers[view.our_name(name)] = number
    return numbers
