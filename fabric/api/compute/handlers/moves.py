"""Actions that take a server to another host, and /os-migrations."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from fabric.api.compute.handlers import live_moves
from fabric.api.compute.handlers.servers import server_id
from fabric.api.compute.links import links_of
from fabric.api.compute.paging import LIMIT_MAX, Paging, next_links, parse_paging
from fabric.api.compute.schemas import moves as schemas
from fabric.api.compute.schemas.parameters import as_boolean
from fabric.api.compute.server_search import changes_between
from fabric.api.compute.versions import v
from fabric.api.compute.views import moves as view
from fabric.api.faults import ApiError
from fabric.api.request import caller, cloud, microversion
from fabric.api.responses import empty_response, json_response
from fabric.api.validation import check_body
from fabric.control import moves
from fabric.core.moves.queries import MoveFilter
from proto.ids import ServerId

PASSWORD_BYTES = 9  # twelve characters, as Nova's


async def _migrate(request: web.Request, document: dict[str, Any]) -> web.Response:
    names_host = microversion(request) >= v(56)  # before, whatever stands there is not looked at
    check_body(document, schemas.MIGRATE_56 if names_host else schemas.MIGRATE)
    host = (document["migrate"] or {}).get("host") if names_host else None
    await moves.migrate(cloud(request), caller(request), server_id(request), host=host)
    return empty_response(202)


async def _confirm(request: web.Request, document: dict[str, Any]) -> web.Response:
    check_body(document, schemas.CONFIRM)
    await moves.confirm(cloud(request), caller(request), server_id(request))
    return empty_response(204)


async def _revert(request: web.Request, document: dict[str, Any]) -> web.Response:
    check_body(document, schemas.REVERT)
    await moves.revert(cloud(request), caller(request), server_id(request))
    return empty_response(202)


async def _evacuate(request: web.Request, document: dict[str, Any]) -> web.Response:
    """Below 2.14 a password is answered, which Nova would inject: our guests take theirs from metadata, and
    the one that was asked for is given back. `force` is taken and not obeyed: a host that does not fit is
    never chosen, as from 2.68 on."""
    version = microversion(request)
    check_body(document, schemas.evacuate(version))
    wanted = document["evacuate"]
    if as_boolean(wanted.get("force", False)) and "host" not in wanted:
        raise ApiError(400, "Can't force to a non-provided destination")
    is_shared = version < v(14) and as_boolean(wanted["onSharedStorage"])
    if is_shared and "adminPass" in wanted:
        raise ApiError(400, "admin password can't be changed on existing disk")
    await moves.evacuate(
        cloud(request),
        caller(request),
        server_id(request),
        host=wanted.get("host"),
        stays_off=version >= v(95),
    )
    if version >= v(14):
        return empty_response(200)
    password = wanted.get("adminPass", None if is_shared else secrets.token_urlsafe(PASSWORD_BYTES))
    return json_response({"adminPass": password})


ACTIONS: Mapping[str, Callable[[web.Request, dict[str, Any]], Awaitable[web.Response]]] = {
    "migrate": _migrate,
    "confirmResize": _confirm,
    "revertResize": _revert,
    "evacuate": _evacuate,
    "os-migrateLive": live_moves.migrate_live,
}


async def index(request: web.Request) -> web.Response:
    """Pages from 2.59 on; before, all there are (of the newest thousand)."""
    version, query = microversion(request), request.query
    paging = parse_paging(request) if version >= v(59) else Paging(LIMIT_MAX, None)
    since_ms, before_ms = changes_between(query) if version >= v(59) else (None, None)
    server = query.get("instance_uuid")
    status = query.get("status")
    wanted = MoveFilter(
        server_id=None if server is None else ServerId(server),
        host=query.get("host"),
        source_name=query.get("source_compute"),
        statuses=() if status is None else (status,),
        kind=query.get("migration_type"),
        user_id=query.get("user_id") if version >= v(80) else None,
        project_id=query.get("project_id") if version >= v(80) else None,
        changed_since_ms=since_ms,
        changed_before_ms=before_ms if version >= v(66) else None,
    )
    found = await moves.list_moves(
        cloud(request), caller(request), wanted, limit=paging.limit, marker=paging.marker
    )
    how = links_of(request)
    document: dict[str, Any] = {"migrations": [view.shown(each, version, how) for each in found]}
    if version >= v(59):
        links = next_links(request, found, paging, lambda each: each.move.move_id)
        if links:
            document["migrations_links"] = links
    return json_response(document)
