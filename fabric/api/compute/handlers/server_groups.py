"""/os-server-groups."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from fabric.api.compute.paging import LIMIT_MAX
from fabric.api.compute.schemas.parameters import as_integer
from fabric.api.compute.versions import v
from fabric.api.compute.views import server_groups as view
from fabric.api.faults import ApiError
from fabric.api.request import body, caller, cloud, microversion
from fabric.api.responses import empty_response, json_response
from fabric.control import server_groups
from fabric.core.server_groups.model import GroupPolicy


def _group_id(request: web.Request) -> str:
    return request.match_info["group_id"]


async def index(request: web.Request) -> web.Response:
    """Paged by number, as Nova's older lists are, and without links. `marker` is ours, below 2.75: the stock
    client asks by it for what follows a page of `limit`, and Nova gives it the first page for ever."""
    query = request.query
    found = await server_groups.list_server_groups(
        cloud(request),
        caller(request),
        all_projects="all_projects" in query,
        limit=min(int(query.get("limit", 0)) or LIMIT_MAX, LIMIT_MAX),
        offset=int(query.get("offset", 0)),
        marker=query.get("marker"),
    )
    version = microversion(request)
    return json_response({"server_groups": [view.shown(each, version) for each in found]})


async def create(request: web.Request) -> web.Response:
    wanted, version = body(request)["server_group"], microversion(request)
    named = wanted["policy"] if version >= v(64) else wanted["policies"][0]
    made = await server_groups.create_server_group(
        cloud(request),
        caller(request),
        name=wanted["name"],
        rule=GroupPolicy(named),
        max_server_per_host=_most(wanted),
    )
    return json_response({"server_group": view.shown(made, version)})


def _most(wanted: dict[str, Any]) -> int | None:
    given = wanted.get("rules", {}).get("max_server_per_host")
    if given is None:
        return None
    most = as_integer(given, 1)
    if most is None:
        raise ApiError(
            400, "Invalid input for field/attribute rules.max_server_per_host: it must be a positive integer."
        )
    return most


async def show(request: web.Request) -> web.Response:
    found = await server_groups.get_server_group(cloud(request), caller(request), _group_id(request))
    return json_response({"server_group": view.shown(found, microversion(request))})


async def delete(request: web.Request) -> web.Response:
    await server_groups.delete_server_group(cloud(request), caller(request), _group_id(request))
    return empty_response(204)
