"""Routes of the local socket about where servers go, and why."""

from __future__ import annotations

import json
from typing import Any, Protocol

from aiohttp import web

from fabric.api.local.mesh import whole_parameter
from fabric.control.rebalance import MOVES_MAX
from fabric.control.room import By

MOVES = 10


class PlacementDesk(Protocol):
    """For an operator, who may see everything. `server`: an id, or a name that no other server has. Each
    raises a FabricError where it cannot be done, which says why and where to ask."""

    async def why(self, server: str) -> dict[str, Any]: ...

    async def why_not(self, server: str, host: str) -> dict[str, Any]: ...

    async def explain(self, body: dict[str, Any]) -> dict[str, Any]:
        """`body`: as the API's own `explain` takes it."""
        ...

    async def capacity(self, by: By, flavor: str | None) -> dict[str, Any]: ...

    async def rebalance(self, moves_max: int) -> dict[str, Any]: ...


def placement_routes(desk: PlacementDesk) -> list[web.RouteDef]:
    async def why(request: web.Request) -> web.Response:
        return web.json_response(await desk.why(request.match_info["server"]))

    async def why_not(request: web.Request) -> web.Response:
        server, host = request.match_info["server"], request.match_info["host"]
        return web.json_response(await desk.why_not(server, host))

    async def explain(request: web.Request) -> web.Response:
        try:
            body = await request.json()
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError, LookupError) as error:
            raise web.HTTPBadRequest(text=f"not JSON: {error}") from error
        return web.json_response(await desk.explain(body))

    async def capacity(request: web.Request) -> web.Response:
        by = request.query.get("by", By.HOST.value)
        if by not in tuple(By):
            raise web.HTTPBadRequest(text=f"by: one of {', '.join(By)}")
        return web.json_response(await desk.capacity(By(by), request.query.get("flavor")))

    async def rebalance(request: web.Request) -> web.Response:
        moves_max = whole_parameter(request, "max_moves", MOVES, 1, MOVES_MAX)
        return web.json_response(await desk.rebalance(moves_max))

    return [
        web.get("/placement/why/{server}", why),
        web.get("/placement/why-not/{server}/{host}", why_not),
        web.post("/placement/explain", explain),
        web.get("/placement/capacity", capacity),
        web.get("/placement/rebalance", rebalance),
    ]
