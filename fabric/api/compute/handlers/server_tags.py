"""/servers/{id}/tags and .../{tag}, from 2.26."""

from __future__ import annotations

from aiohttp import web

from fabric.api.compute.handlers.servers import server_id
from fabric.api.compute.links import links_of
from fabric.api.compute.schemas.parameters import TAG, TAGS_MAX
from fabric.api.faults import ApiError
from fabric.api.request import body, caller, cloud
from fabric.api.responses import empty_response, json_response
from fabric.api.validation import check_body
from fabric.control import servers


async def _current(request: web.Request) -> tuple[str, ...]:
    return (await servers.show(cloud(request), caller(request), server_id(request))).server.tags


async def _store(request: web.Request, tags: tuple[str, ...]) -> None:
    await servers.set_tags(cloud(request), caller(request), server_id(request), tags)


def _missing(request: web.Request) -> ApiError:
    tag = request.match_info["tag"][:60]
    return ApiError(404, f"Server {server_id(request)} has no tag '{tag}'")


async def index(request: web.Request) -> web.Response:
    return json_response({"tags": sorted(await _current(request))})


async def replace(request: web.Request) -> web.Response:
    tags = tuple(dict.fromkeys(body(request)["tags"]))
    await _store(request, tags)
    return json_response({"tags": sorted(tags)})


async def clear(request: web.Request) -> web.Response:
    await _store(request, ())
    return empty_response(204)


async def check(request: web.Request) -> web.Response:
    if request.match_info["tag"] not in await _current(request):
        raise _missing(request)
    return empty_response(204)


async def add(request: web.Request) -> web.Response:
    tag, tags = request.match_info["tag"], await _current(request)
    check_body(tag, TAG)
    if tag in tags:
        return empty_response(204)
    if len(tags) >= TAGS_MAX:
        raise ApiError(400, f"The number of tags exceeded the per-server limit {TAGS_MAX}")
    await _store(request, (*tags, tag))
    href = f"{links_of(request).self_href('servers', server_id(request))}/tags/{tag}"
    return empty_response(201, headers={"Location": href})


async def remove(request: web.Request) -> web.Response:
    tag, tags = request.match_info["tag"], await _current(request)
    if tag not in tags:
        raise _missing(request)
    await _store(request, tuple(each for each in tags if each != tag))
    return empty_response(204)
