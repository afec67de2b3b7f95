"""/servers/{id}/metadata and .../{key}."""

from __future__ import annotations

from aiohttp import web

from fabric.api.compute.handlers.servers import server_id
from fabric.api.faults import ApiError
from fabric.api.request import body, caller, cloud
from fabric.api.responses import empty_response, json_response
from fabric.control import servers

_MISSING = "Metadata item was not found"


async def _current(request: web.Request) -> dict[str, str]:
    view = await servers.show(cloud(request), caller(request), server_id(request))
    return dict(view.server.metadata)


async def _store(request: web.Request, metadata: dict[str, str]) -> None:
    await servers.set_metadata(cloud(request), caller(request), server_id(request), metadata)


async def index(request: web.Request) -> web.Response:
    return json_response({"metadata": await _current(request)})


async def merge(request: web.Request) -> web.Response:
    metadata = await _current(request) | body(request)["metadata"]
    await _store(request, metadata)
    return json_response({"metadata": metadata})


async def replace(request: web.Request) -> web.Response:
    metadata = body(request)["metadata"]
    await _store(request, metadata)
    return json_response({"metadata": metadata})


async def show(request: web.Request) -> web.Response:
    key, metadata = request.match_info["key"], await _current(request)
    if key not in metadata:
        raise ApiError(404, _MISSING)
    return json_response({"meta": {key: metadata[key]}})


async def set_one(request: web.Request) -> web.Response:
    key, meta = request.match_info["key"], body(request)["meta"]
    if key not in meta:
        raise ApiError(400, "Request body and URI mismatch")
    await _store(request, await _current(request) | meta)
    return json_response({"meta": meta})


async def remove(request: web.Request) -> web.Response:
    key, metadata = request.match_info["key"], await _current(request)
    if key not in metadata:
        raise ApiError(404, _MISSING)
    del metadata[key]
    await _store(request, metadata)
    return empty_response(204)
