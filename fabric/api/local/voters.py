"""Routes of the local socket about the log's voters."""

from __future__ import annotations

from typing import Any, Protocol

from aiohttp import web


class VoterDesk(Protocol):
    """Each raises a FabricError where it cannot be done, which says why and where to ask."""

    async def show(self) -> dict[str, Any]: ...

    async def wish(self, node: str, wish: str) -> dict[str, Any]: ...

    async def promote(self, node: str) -> dict[str, Any]: ...

    async def lead(self, node: str) -> dict[str, Any]: ...


def voter_routes(desk: VoterDesk) -> list[web.RouteDef]:
    async def show(_: web.Request) -> web.Response:
        return web.json_response(await desk.show())

    async def add(request: web.Request) -> web.Response:
        return web.json_response(await desk.wish(request.match_info["node"], "wanted"))

    async def promote(request: web.Request) -> web.Response:
        return web.json_response(await desk.promote(request.match_info["node"]))

    async def remove(request: web.Request) -> web.Response:
        return web.json_response(await desk.wish(request.match_info["node"], "unwanted"))

    async def forget(request: web.Request) -> web.Response:
        return web.json_response(await desk.wish(request.match_info["node"], ""))

    async def lead(request: web.Request) -> web.Response:
        return web.json_response(await desk.lead(request.match_info["node"]))

    return [
        web.get("/voters", show),
        web.post("/voters/{node}/add", add),
        web.post("/voters/{node}/promote", promote),
        web.post("/voters/{node}/remove", remove),
        web.post("/voters/{node}/auto", forget),
        web.post("/voters/{node}/lead", lead),
    ]
