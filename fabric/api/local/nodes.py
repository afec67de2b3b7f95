"""Routes of the local socket about single nodes and about invitations."""

from __future__ import annotations

import json
from typing import Any, Protocol

from aiohttp import web

REASON_CHARS_MAX = 255


class NodeDesk(Protocol):
    """What an operator may do to nodes here. Each raises a FabricError where this node may not, which says
    where to ask."""

    def show(self, text: str) -> dict[str, Any]: ...

    async def remove(self, text: str, *, force: bool) -> dict[str, Any]: ...

    async def drain(self, text: str, reason: str) -> dict[str, Any]: ...

    async def undrain(self, text: str) -> dict[str, Any]: ...

    async def rotate_key(self) -> dict[str, Any]: ...

    async def tokens(self) -> list[dict[str, Any]]: ...

    async def revoke_token(self, token_id: str) -> None: ...


def node_routes(desk: NodeDesk) -> list[web.RouteDef]:
    async def show(request: web.Request) -> web.Response:
        return web.json_response(desk.show(request.match_info["node"]))

    async def remove(request: web.Request) -> web.Response:
        force = (await _map(request)).get("force") is True
        return web.json_response(await desk.remove(request.match_info["node"], force=force))

    async def drain(request: web.Request) -> web.Response:
        reason = (await _map(request)).get("reason", "")
        if not isinstance(reason, str) or len(reason) > REASON_CHARS_MAX:
            raise web.HTTPBadRequest(text=f"reason: text of at most {REASON_CHARS_MAX} characters")
        return web.json_response(await desk.drain(request.match_info["node"], reason))

    async def undrain(request: web.Request) -> web.Response:
        return web.json_response(await desk.undrain(request.match_info["node"]))

    async def rotate_key(_: web.Request) -> web.Response:
        return web.json_response(await desk.rotate_key())

    async def tokens(_: web.Request) -> web.Response:
        return web.json_response(await desk.tokens())

    async def revoke(request: web.Request) -> web.Response:
        await desk.revoke_token(request.match_info["token"])
        return web.json_response({})

    return [
        web.get("/members/{node}", show),
        web.post("/nodes/{node}/remove", remove),
        web.post("/nodes/{node}/drain", drain),
        web.post("/nodes/{node}/undrain", undrain),
        web.post("/rotate-key", rotate_key),
        web.get("/tokens", tokens),
        web.post("/tokens/{token}/revoke", revoke),
    ]


async def _map(request: web.Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError, LookupError) as error:
        raise web.HTTPBadRequest(text=f"not JSON: {error}") from error
    if not isinstance(body, dict):
        raise web.HTTPBadRequest(text="expected an object")
    return body
