"""Live migration: its action, and /servers/{id}/migrations."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from fabric.api.compute.handlers.servers import server_id
from fabric.api.compute.schemas import moves as schemas
from fabric.api.compute.versions import v
from fabric.api.compute.views import live_moves as view
from fabric.api.request import caller, cloud, microversion
from fabric.api.responses import empty_response, json_response
from fabric.api.validation import check_body
from fabric.control import live_moves


async def migrate_live(request: web.Request, document: dict[str, Any]) -> web.Response:
    """Disks are every host's own, so they cross whatever `block_migration` says. `force` is taken and not
    obeyed: a host that does not fit is never chosen, as from 2.68 on."""
    check_body(document, schemas.migrate_live(microversion(request)))
    host = document["os-migrateLive"]["host"]
    await live_moves.migrate_live(cloud(request), caller(request), server_id(request), host=host)
    return empty_response(202)


async def index(request: web.Request) -> web.Response:
    version = microversion(request)
    found = await live_moves.list_live(cloud(request), caller(request), server_id(request))
    return json_response({"migrations": [view.shown(each, version) for each in found]})


async def show(request: web.Request) -> web.Response:
    found = await live_moves.get_live(cloud(request), caller(request), server_id(request), _number(request))
    return json_response({"migration": view.shown(found, microversion(request))})


async def delete(request: web.Request) -> web.Response:
    await live_moves.abort(
        cloud(request),
        caller(request),
        server_id(request),
        _number(request),
        may_be_queued=microversion(request) >= v(65),
    )
    return empty_response(202)


async def act(request: web.Request) -> web.Response:
    await live_moves.force(cloud(request), caller(request), server_id(request), _number(request))
    return empty_response(202)


def _number(request: web.Request) -> str:
    return request.match_info["migration_id"]
