"""/os-hypervisors."""

from __future__ import annotations

from aiohttp import web

from fabric.api.compute.paging import LIMIT_MAX, Paging, next_links, parse_paging
from fabric.api.compute.schemas.parameters import BOOLEAN, as_boolean
from fabric.api.compute.versions import v
from fabric.api.compute.views import services as view
from fabric.api.faults import ApiError
from fabric.api.request import caller, cloud, microversion
from fabric.api.responses import json_response
from fabric.control import hypervisors
from fabric.control.hypervisors import Hypervisor
from proto.ids import is_uuid


async def index(request: web.Request) -> web.Response:
    return await _list(request, detailed=False)


async def detail(request: web.Request) -> web.Response:
    return await _list(request, detailed=True)


async def _list(request: web.Request, *, detailed: bool) -> web.Response:
    version, query = microversion(request), request.query
    name_part = query.get("hypervisor_hostname_pattern") if version >= v(53) else None
    if name_part is not None and ("limit" in query or "marker" in query):
        raise ApiError(400, "Paging over hypervisors with hypervisor_hostname_pattern is not supported.")
    found = await hypervisors.list_hypervisors(
        cloud(request), caller(request), name_part=name_part, with_servers=_with_servers(request)
    )
    paging = parse_paging(request) if version >= v(33) else Paging(LIMIT_MAX, None)
    by_uuid = version >= v(53)
    page = hypervisors.page_of(found, limit=paging.limit, marker=paging.marker, uuid_marker=by_uuid)
    render = view.hypervisor_detail if detailed else view.hypervisor_brief
    result: dict[str, object] = {"hypervisors": [render(each, version) for each in page]}
    if version >= v(33):
        links = next_links(
            request, page, paging, lambda each: each.uuid if by_uuid else str(each.host.number)
        )
        if links:
            result["hypervisors_links"] = links
    return json_response(result)


async def show(request: web.Request) -> web.Response:
    found = await _find(request, with_servers=_with_servers(request))
    return json_response({"hypervisor": view.hypervisor_detail(found, microversion(request))})


async def uptime(request: web.Request) -> web.Response:
    """Below 2.88. Hosts do not tell it, and Nova has this answer for drivers that cannot."""
    await _find(request, with_servers=False)
    raise ApiError(501, "Hosts do not report their uptime.")


async def statistics(request: web.Request) -> web.Response:
    sums = await hypervisors.totals(cloud(request), caller(request))
    return json_response({"hypervisor_statistics": view.statistics(sums)})


async def search(request: web.Request) -> web.Response:
    return await _matching(request, with_servers=False)


async def servers(request: web.Request) -> web.Response:
    return await _matching(request, with_servers=True)


async def _matching(request: web.Request, *, with_servers: bool) -> web.Response:
    found = await hypervisors.list_hypervisors(
        cloud(request),
        caller(request),
        name_part=request.match_info["hypervisor_id"],
        with_servers=with_servers,
    )
    version = microversion(request)
    return json_response({"hypervisors": [view.hypervisor_brief(each, version) for each in found]})


async def _find(request: web.Request, *, with_servers: bool) -> Hypervisor:
    identity = request.match_info["hypervisor_id"]
    wants_uuid = microversion(request) >= v(53)
    if wants_uuid and not is_uuid(identity):
        raise ApiError(400, f"Invalid uuid {identity[:64]}")
    if not wants_uuid and not identity.isdigit():
        raise ApiError(404, f"Compute host {identity[:64]} could not be found.")
    return await hypervisors.find_hypervisor(
        cloud(request), caller(request), identity, with_servers=with_servers
    )


def _with_servers(request: web.Request) -> bool:
    text = request.query.get("with_servers")
    if text is None or microversion(request) < v(53):
        return False
    if text not in BOOLEAN["enum"]:
        raise ApiError(400, "Invalid input for query parameters with_servers: it must be a boolean.")
    return as_boolean(text)
