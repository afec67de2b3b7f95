"""Fabric's own API below its mount. The version document is in `fabric/api/versions.py`."""

from __future__ import annotations

from aiohttp import web

from fabric.api.compute.schemas.parameters import NO_QUERY
from fabric.api.faults import FABRIC
from fabric.api.own.handlers import placement
from fabric.api.own.schemas.placement import CAPACITY_QUERY, EXPLAIN
from fabric.api.routing import Route, build_app

ROUTES: tuple[Route, ...] = (
    Route("POST", "/v1/explain", placement.explain, query=NO_QUERY, body=EXPLAIN),
    Route("GET", "/v1/servers/{server_id}/why", placement.why, query=NO_QUERY),
    Route("GET", "/v1/servers/{server_id}/why-not/{host}", placement.why_not, query=NO_QUERY),
    Route("GET", "/v1/capacity", placement.capacity, query=CAPACITY_QUERY),
)


def app() -> web.Application:
    """To be mounted on `/fabric`."""
    return build_app("fabric", ROUTES, FABRIC)
