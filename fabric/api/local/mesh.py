"""Routes about the mesh as this node is part of it: links, echoes, the doctor. Each answers within bounded
time on a node that is cut off as well."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from fabric.control import doctor, operate
from fabric.errors import FabricError, RemoteError
from fabric.runtime.mesh_exam import DEADLINE_MS, PEERS_MAX, ExamSources, examine
from fabric.runtime.peer_probes import ECHO_BYTES_MAX, PeerProbes

PING_TIMEOUT_MS_MAX = 10_000
PING_TIMEOUT_MS = 2_000
PING_BYTES = 56  # ping(8)'s


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshParts:
    probes: PeerProbes
    exam: ExamSources


def mesh_routes(parts: MeshParts) -> list[web.RouteDef]:
    view, clock = parts.exam.view, parts.exam.clock

    async def links(_: web.Request) -> web.Response:
        return web.json_response(operate.links(view, clock))

    async def ping(request: web.Request) -> web.Response:
        """One echo. A lost one is an answer, too: `error` and `code` instead of `rtt_ms`."""
        member = operate.find(view, request.query.get("node", ""))
        size = whole_parameter(request, "size", PING_BYTES, 0, ECHO_BYTES_MAX)
        timeout_ms = whole_parameter(request, "timeout_ms", PING_TIMEOUT_MS, 1, PING_TIMEOUT_MS_MAX)
        about = {
            "node": member.record.name,
            "id": member.record.node_id,
            "address": member.record.endpoint,
            "state": member.state.value,
            "size": size,
        }
        try:
            echo = await parts.probes.echo(member.record.node_id, size, timeout_ms=timeout_ms)
        except FabricError as error:
            code = error.remote_code if isinstance(error, RemoteError) else error.code
            return web.json_response(about | {"error": str(error), "code": code})
        return web.json_response(
            about
            | {
                "rtt_ms": round(echo.rtt_us / 1_000, 3),
                "clock_ahead_ms": echo.clock_ahead_ms,
                "lag_ms": echo.lag_ms,
            }
        )

    async def doctor_mesh(request: web.Request) -> web.Response:
        names = request.query.getall("node", [])
        if len(names) > PEERS_MAX:
            raise web.HTTPBadRequest(text=f"node: at most {PEERS_MAX}")
        only = [operate.find(view, name).record.node_id for name in names]
        deadline_ms = whole_parameter(request, "deadline_ms", DEADLINE_MS, 100, DEADLINE_MS)
        return web.json_response(doctor.report(await examine(parts.exam, only, deadline_ms=deadline_ms)))

    return [web.get("/links", links), web.get("/ping", ping), web.get("/doctor/mesh", doctor_mesh)]


def whole_parameter(request: web.Request, name: str, default: int, low: int, high: int) -> int:
    """Raises HTTPBadRequest naming the parameter."""
    text = request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 9) or not low <= int(text) <= high:
        raise web.HTTPBadRequest(text=f"{name}: must be a whole number from {low} to {high}")
    return int(text)
