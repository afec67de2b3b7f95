"""Routes of the local socket. JSON in and out; errors are {"error": message}."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from fabric.api.local.copies import CopyDesk, copy_routes
from fabric.api.local.mesh import MeshParts, mesh_routes
from fabric.api.local.metrics import metrics_route
from fabric.api.local.nodes import NodeDesk, node_routes
from fabric.api.local.placement import PlacementDesk, placement_routes
from fabric.api.local.voters import VoterDesk, voter_routes
from fabric.control import operate
from fabric.errors import FabricError
from fabric.runtime.clock import Clock
from fabric.runtime.events import EventLog
from fabric.runtime.lease_status import LeaseSeen
from fabric.runtime.mesh_view import MeshView
from proto.ids import NodeId

log = logging.getLogger(__name__)

BODY_BYTES_MAX = 64 * 1024
TTL_S_MAX = 30 * 24 * 3600
USES_MAX = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalParts:
    """`create_token` (ttl_s, uses) gives the token's text; it refuses where this node may not. `leases` are
    those that who leads knows, or nothing where it cannot be asked; `host_zones` are of the hosts whose zone
    this node's rows tell. `scrape` gives the metrics' text, `note`
    what this node has to say about itself among the members, or ""."""

    fleet: MeshView
    clock: Clock
    events: EventLog
    status: Callable[[], dict[str, Any]]
    create_token: Callable[[int, int], Awaitable[str]]
    host_network: Callable[[], Awaitable[dict[str, Any]]]
    leases: Callable[[], Awaitable[Sequence[LeaseSeen]]]
    host_zones: Callable[[], Awaitable[Mapping[NodeId, str]]]
    mesh: MeshParts
    scrape: Callable[[], str]
    nodes: NodeDesk
    voters: VoterDesk
    copies: CopyDesk
    placement: PlacementDesk
    note: Callable[[], str] = str


def build_local_app(parts: LocalParts) -> web.Application:
    app = web.Application(middlewares=[_errors], client_max_size=BODY_BYTES_MAX)

    async def members(_: web.Request) -> web.Response:
        rows, note = operate.members(parts.fleet, parts.clock), parts.note()
        for row in rows:
            if note and row["id"] == parts.fleet.me:
                row["note"] = note
        return web.json_response(rows)

    async def leaders(_: web.Request) -> web.Response:
        return web.json_response(operate.leaders(parts.fleet, await parts.leases()))

    async def capacity(_: web.Request) -> web.Response:
        return web.json_response(operate.capacity(parts.fleet, await parts.host_zones()))

    async def status(_: web.Request) -> web.Response:
        return web.json_response(parts.status() | {"mesh": operate.health(parts.fleet)})

    async def leftovers(_: web.Request) -> web.Response:
        return web.json_response(await parts.host_network())

    async def token(request: web.Request) -> web.Response:
        body = await _json(request)
        ttl_s = _whole(body, "ttl_s", 1, TTL_S_MAX)
        uses = _whole(body, "uses", 1, USES_MAX)
        return web.json_response({"token": await parts.create_token(ttl_s, uses)})

    async def events(request: web.Request) -> web.StreamResponse:
        if request.query.get("follow") != "1":
            return web.json_response([event.as_json() for event in parts.events.recent()])
        answer = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await answer.prepare(request)
        async with contextlib.aclosing(parts.events.follow()) as followed:
            with contextlib.suppress(ConnectionResetError):  # the follower went away
                async for event in followed:
                    await answer.write(json.dumps(event.as_json()).encode() + b"\n")
        return answer

    app.add_routes(
        [
            web.get("/members", members),
            web.get("/leaders", leaders),
            web.get("/capacity", capacity),
            web.get("/status", status),
            web.get("/events", events),
            web.get("/host/network", leftovers),
            web.post("/token", token),
            metrics_route(parts.scrape),
            *mesh_routes(parts.mesh),
            *node_routes(parts.nodes),
            *voter_routes(parts.voters),
            *copy_routes(parts.copies),
            *placement_routes(parts.placement),
        ]
    )
    return app


async def _json(request: web.Request) -> Any:
    try:
        return await request.json()
    except (ValueError, RecursionError, LookupError) as error:  # not JSON, too deep, unknown charset
        raise web.HTTPBadRequest(text=f"not JSON: {error}") from error


def _whole(body: Any, name: str, low: int, high: int) -> int:
    value = body.get(name) if isinstance(body, dict) else None
    if type(value) is not int or not low <= value <= high:
        raise web.HTTPBadRequest(text=f"{name}: must be a whole number from {low} to {high}")
    return value


@web.middleware
async def _errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        return web.json_response({"error": error.text or error.reason}, status=error.status)
    except FabricError as error:
        return web.json_response(
            {"error": str(error), "code": error.code, "outcome": error.outcome.value}, status=409
        )
    except Exception:
        log.exception("local request failed", extra={"path": request.path})
        return web.json_response({"error": "internal error, see the agent's log"}, status=500)
