"""/servers/{id}/shares: no server has any, and why none can be given one."""

from __future__ import annotations

from aiohttp import web

from fabric.api.compute.handlers.servers import server_id
from fabric.api.request import body, caller, cloud
from fabric.api.responses import json_response
from fabric.control import shares


def _share_id(request: web.Request) -> str:
    return request.match_info["share_id"]


async def index(request: web.Request) -> web.Response:
    await shares.listing(cloud(request), caller(request), server_id(request))
    return json_response({"shares": []})


async def attach(request: web.Request) -> web.Response:
    await shares.attach(
        cloud(request), caller(request), server_id(request), body(request)["share"]["share_id"]
    )


async def show(request: web.Request) -> web.Response:
    await shares.show(cloud(request), caller(request), server_id(request), _share_id(request))


async def detach(request: web.Request) -> web.Response:
    await shares.detach(cloud(request), caller(request), server_id(request), _share_id(request))
