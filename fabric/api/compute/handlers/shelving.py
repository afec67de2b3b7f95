"""Actions that shelve a server and bring it back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from fabric.api.compute.handlers.servers import server_id
from fabric.api.compute.schemas import shelving as schemas
from fabric.api.request import caller, cloud, microversion
from fabric.api.responses import empty_response
from fabric.api.validation import check_body
from fabric.control import shelving
from fabric.control.shelving import ANYWHERE, Where


async def _shelve(request: web.Request, document: dict[str, Any]) -> web.Response:
    check_body(document, schemas.SHELVE)
    await shelving.shelve(cloud(request), caller(request), server_id(request))
    return empty_response(202)


async def _shelve_offload(request: web.Request, document: dict[str, Any]) -> web.Response:
    check_body(document, schemas.SHELVE_OFFLOAD)
    await shelving.offload(cloud(request), caller(request), server_id(request))
    return empty_response(202)


async def _unshelve(request: web.Request, document: dict[str, Any]) -> web.Response:
    version = microversion(request)
    check_body(document, schemas.unshelve(version))
    where = ANYWHERE
    if version >= schemas.ZONES:
        wanted = document["unshelve"] or {}
        where = Where(
            changes_zone="availability_zone" in wanted,
            zone=wanted.get("availability_zone"),
            host=wanted.get("host"),
        )
    await shelving.unshelve(cloud(request), caller(request), server_id(request), where)
    return empty_response(202)


ACTIONS: Mapping[str, Callable[[web.Request, dict[str, Any]], Awaitable[web.Response]]] = {
    "shelve": _shelve,
    "shelveOffload": _shelve_offload,
    "unshelve": _unshelve,
}
