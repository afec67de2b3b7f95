"""Why servers are where they are, and how much room there is."""

from __future__ import annotations

from aiohttp import web

from fabric.api.own.wishes import wish_of
from fabric.api.request import body, caller, cloud
from fabric.api.responses import json_response
from fabric.control import explanation_view, explanations, room, room_view


async def explain(request: web.Request) -> web.Response:
    found = await explanations.explain(cloud(request), caller(request), wish_of(body(request)))
    return json_response(explanation_view.explanation(found, is_admin=caller(request).is_admin))


async def why(request: web.Request) -> web.Response:
    found = await explanations.why(cloud(request), caller(request), request.match_info["server_id"])
    return json_response(explanation_view.explanation(found, is_admin=caller(request).is_admin))


async def why_not(request: web.Request) -> web.Response:
    server_id, host = request.match_info["server_id"], request.match_info["host"]
    found = await explanations.why_not(cloud(request), caller(request), server_id, host)
    return json_response(explanation_view.why_not(found))


async def capacity(request: web.Request) -> web.Response:
    by = room.By(request.query.get("by", room.By.HOST))
    found = await room.capacity(cloud(request), caller(request), by, flavor=request.query.get("flavor"))
    return json_response(room_view.report(found))
