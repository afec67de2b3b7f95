"""/servers and /servers/{id}, beside creating (`server_create.py`)."""

from __future__ import annotations

from aiohttp import web

from fabric.api.compute.handlers.rendering import rendering
from fabric.api.compute.paging import next_links, parse_paging, parse_sort
from fabric.api.compute.schemas.servers import PINNED
from fabric.api.compute.server_search import SORT_FIELDS, parse_search
from fabric.api.compute.views import security_groups as group_view
from fabric.api.compute.views import servers as view
from fabric.api.faults import ApiError
from fabric.api.request import body, caller, cloud
from fabric.api.responses import empty_response, json_response
from fabric.control import server_actions, servers
from fabric.core.servers.model import ServerView
from fabric.core.servers.states import Verb


def server_id(request: web.Request) -> str:
    return request.match_info["server_id"]


async def index(request: web.Request) -> web.Response:
    return await _list(request, detailed=False)


async def detail(request: web.Request) -> web.Response:
    return await _list(request, detailed=True)


async def _list(request: web.Request, *, detailed: bool) -> web.Response:
    paging, sort = parse_paging(request), parse_sort(request, SORT_FIELDS)
    search = parse_search(request)
    found: tuple[ServerView, ...] = ()
    if paging.limit and not search.is_empty:
        found = await servers.listing(
            cloud(request), caller(request), search.filter, paging.page(sort), keep=search.keep
        )
    how = await rendering(request, found if detailed else ())
    render = view.detail if detailed else view.brief
    result: dict[str, object] = {"servers": [render(each, how) for each in found]}
    links = next_links(request, found, paging, lambda each: each.server.server_id)
    if links:
        result["servers_links"] = links
    return json_response(result)


async def show(request: web.Request) -> web.Response:
    found = await servers.show(cloud(request), caller(request), server_id(request))
    return json_response({"server": view.show(found, await rendering(request, [found]))})


async def update(request: web.Request) -> web.Response:
    wanted = body(request)["server"]
    refuse_access_addresses(wanted)
    description = wanted.get("description")
    if "description" in wanted and description is None:
        description = ""  # null clears it
    changed = await servers.update(
        cloud(request),
        caller(request),
        server_id(request),
        name=wanted.get("name"),
        description=description,
        hostname=wanted.get("hostname"),
        pin=servers.Pin(wanted[PINNED]) if PINNED in wanted else None,
    )
    return json_response({"server": view.updated(changed, await rendering(request, [changed]))})


async def delete(request: web.Request) -> web.Response:
    await server_actions.act(cloud(request), caller(request), server_id(request), Verb.DELETE)
    return empty_response(204)


async def addresses(request: web.Request) -> web.Response:
    found = await servers.show(cloud(request), caller(request), server_id(request))
    return json_response({"addresses": view.addresses(found, extended=False)})


async def addresses_on(request: web.Request) -> web.Response:
    found = await servers.show(cloud(request), caller(request), server_id(request))
    name = request.match_info["network"]
    networks = view.addresses(found, extended=False)
    if name not in networks:
        raise ApiError(404, "Instance is not a member of specified network")
    return json_response({name: networks[name]})


async def security_groups(request: web.Request) -> web.Response:
    groups = await servers.security_groups(cloud(request), caller(request), server_id(request))
    names = {str(group.security_group_id): group.name for group in groups}
    return json_response({"security_groups": [group_view.render(group, names) for group in groups]})


def refuse_access_addresses(wanted: dict[str, object]) -> None:
    """Raises: ApiError 400 rather than forget what the user asked to be kept."""
    for name in ("accessIPv4", "accessIPv6"):
        if wanted.get(name):
            raise ApiError(400, f"{name}: a separate access address is not supported yet; leave it out.")
