"""One table of routes for each dialect, and the pipeline every request of it goes through.

    ROUTES = (
        Route("GET", "/v2.1/servers", servers.index, query=LIST_QUERY),
        Route("POST", "/v2.1/servers", servers.create,
              body=((Microversion(2, 1), CREATE), (Microversion(2, 19), CREATE_219))),
        Route("POST", "/v2.1/servers/{server_id}/remote-consoles", consoles.create,
              since=Microversion(2, 6), body=CONSOLE),
    )
    app = build_app("compute", ROUTES, faults.NOVA)

- Paths are below the mount; a slash at the end is optional; GET answers HEAD too unless the table has one.
- `since`/`until` are inclusive microversions. Several routes may share method and path when
  their ranges do not meet; outside all of them the answer is 404, as Nova's is.
- `body`: a JSON schema, or ((since, schema), ...) ascending, the last one at or below the request's
  version counts. With `body=None` the body is left alone (uploads, empty POSTs).
- `query`: the same; the schema sees lists (see `validation`).
- `public`: no token needed.
- `content_types`: what the JSON body may call itself (no Content-Type at all is always accepted).
Unknown paths are 404 and known ones with another method 405, as the dialect's faults.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from aiohttp import web
from aiohttp.typedefs import Handler as AiohttpHandler
from aiohttp.typedefs import Middleware

from fabric.api import microversion as mv
from fabric.api.auth import authenticate
from fabric.api.faults import ApiError, Dialect, fault_of
from fabric.api.index_token import catch_up_to_act, stamp_index, wait_for_index
from fabric.api.microversion import Microversion
from fabric.api.request import BODY, GLOBAL_REQUEST_ID, MICROVERSION, REQUEST_ID
from fabric.api.validation import (
    JSON_BYTES_MAX,
    Schema,
    check_body,
    check_query,
    compile_schemas,
    read_json,
    refuse_unstorable_query,
)
from proto.ids import RequestId, is_request_id, new_request_id

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
VersionedSchema = tuple[tuple[Microversion, Schema], ...]
SchemaChoice = Schema | VersionedSchema

LEGACY_PREFIX = "/v2/"  # Compute's API without microversions: v2.1 as of 2.1
CURRENT_PREFIX = "/v2.1/"
_FIRST, _LAST = Microversion(0, 0), Microversion(1 << 30, 0)
NAME: web.AppKey[str] = web.AppKey("name", str)
_IS_LEGACY: web.RequestKey[bool] = web.RequestKey("is_legacy", bool)


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    path: str
    handler: Handler
    since: Microversion | None = None
    until: Microversion | None = None
    body: SchemaChoice | None = None
    query: SchemaChoice | None = None
    public: bool = False
    content_types: tuple[str, ...] = ("application/json",)
    body_bytes_max: int = JSON_BYTES_MAX

    def serves(self, version: Microversion) -> bool:
        return (self.since is None or self.since <= version) and (self.until is None or version <= self.until)


class Endpoint:
    """All routes of one method and path: the pipeline after faults and request ids."""

    def __init__(self, routes: Sequence[Route], dialect: Dialect, *, is_legacy: bool = False) -> None:
        assert routes
        for index, route in enumerate(routes):
            for other in routes[index + 1 :]:
                assert not _ranges_meet(route, other), f"{route.method} {route.path}: ranges meet"
        assert len({route.public for route in routes}) == 1, routes[0].path
        self._routes = tuple(routes)
        self._dialect = dialect
        self._is_legacy = is_legacy

    async def handle(self, request: web.Request) -> web.StreamResponse:
        version = self._negotiate(request)
        await wait_for_index(request)
        if not self._routes[0].public:
            await authenticate(request)
        if "\x00" in request.path:
            raise ApiError(404, "The resource could not be found.")
        route = next((route for route in self._routes if route.serves(version)), None)
        if route is None:
            raise ApiError(404, "The resource could not be found.")
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise ApiError(415, "Unsupported Content-Encoding; send the body as it is.")
        refuse_unstorable_query(request.query)
        query_schema = _chosen(route.query, version)
        if query_schema is not None:
            check_query(request.query, query_schema)
        body_schema = _chosen(route.body, version)
        if body_schema is not None:
            value = await read_json(
                request, bytes_max=route.body_bytes_max, content_types=route.content_types
            )
            check_body(value, body_schema)
            request[BODY] = value
        await catch_up_to_act(request, is_public=route.public)
        return await route.handler(request)

    def _negotiate(self, request: web.Request) -> Microversion:
        versioning = self._dialect.versioning
        if versioning is None:
            return mv.MIN
        if self._is_legacy:
            request[_IS_LEGACY] = True
            version = mv.MIN
        else:
            legacy = versioning.legacy_header
            version = mv.negotiate(
                request.headers.getall(mv.HEADER, ()),
                None if legacy is None else request.headers.get(legacy),
                versioning,
            )
        request[MICROVERSION] = version
        return version


def build_app(
    name: str, routes: Sequence[Route], dialect: Dialect, *, client_max_size: int = JSON_BYTES_MAX
) -> web.Application:
    """A mountable application. Schemas are compiled now. `client_max_size` bounds `request.read()`.

    Raises: jsonschema.SchemaError for a broken schema; AssertionError for a table that contradicts itself.
    """
    app = web.Application(middlewares=[_frame(dialect)], client_max_size=client_max_size)
    app[NAME] = name
    _mount(app, routes, dialect)
    app.on_response_prepare.append(_stamp(dialect))
    return app


def _mount(app: web.Application, routes: Sequence[Route], dialect: Dialect) -> None:
    groups: dict[tuple[str, str], list[Route]] = {}
    for route in routes:
        groups.setdefault((route.path, route.method), []).append(route)
        compile_schemas(_schemas(route.body))
        compile_schemas(_schemas(route.query))
    for (path, method), group in groups.items():
        _add(app, method, path, Endpoint(group, dialect).handle, groups)
        if dialect.versioning is not None and path.startswith(CURRENT_PREFIX):
            old = LEGACY_PREFIX + path.removeprefix(CURRENT_PREFIX)
            _add(app, method, old, Endpoint(group, dialect, is_legacy=True).handle, groups, table_path=path)


def _add(
    app: web.Application,
    method: str,
    path: str,
    handler: Handler,
    groups: Mapping[tuple[str, str], list[Route]],
    *,
    table_path: str | None = None,
) -> None:
    bare = path.rstrip("/")
    methods = [method]
    if method == "GET" and (table_path or path, "HEAD") not in groups:
        methods.append("HEAD")
    for each in methods:
        if bare:
            app.router.add_route(each, bare, handler)
        app.router.add_route(each, f"{bare}/", handler)


def _frame(dialect: Dialect) -> Middleware:
    """The outermost layer: request ids in, faults out. The one place where `except Exception` is right."""

    @web.middleware
    async def frame(request: web.Request, handler: AiohttpHandler) -> web.StreamResponse:
        if REQUEST_ID not in request:
            request[REQUEST_ID] = new_request_id()
            sent = request.headers.get("X-OpenStack-Request-ID", "")
            request[GLOBAL_REQUEST_ID] = RequestId(sent) if is_request_id(sent) else None
        try:
            return await handler(request)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            if isinstance(error, web.HTTPException) and error.status < 400:
                raise
            return dialect.render(fault_of(error, dialect, request), request)

    return frame


def _stamp(dialect: Dialect) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """Headers of every answer, streamed ones too: set when the response is about to start."""

    async def stamp(request: web.Request, response: web.StreamResponse) -> None:
        request_id = request.get(REQUEST_ID)
        if request_id is not None:
            for header in dialect.request_id_headers:
                response.headers[header] = request_id
        stamp_index(request, response)
        versioning = dialect.versioning
        if versioning is None or request.get(_IS_LEGACY):
            return
        response.headers.setdefault("Vary", versioning.vary)
        version = request.get(MICROVERSION)
        if version is not None:
            response.headers[mv.HEADER] = f"{versioning.service} {version}"
            if versioning.legacy_header is not None:
                response.headers[versioning.legacy_header] = str(version)

    return stamp


def _ranges_meet(one: Route, other: Route) -> bool:
    starts = max(one.since or _FIRST, other.since or _FIRST)
    ends = min(one.until or _LAST, other.until or _LAST)
    return starts <= ends


def _is_versioned(choice: SchemaChoice) -> TypeGuard[VersionedSchema]:
    return isinstance(choice, tuple)


def _schemas(choice: SchemaChoice | None) -> list[Mapping[str, Any]]:
    if choice is None:
        return []
    if _is_versioned(choice):
        versions = [since for since, _ in choice]
        assert versions == sorted(set(versions)), "schemas must ascend by version"
        return [schema for _, schema in choice]
    assert isinstance(choice, Mapping)
    return [choice]


def _chosen(choice: SchemaChoice | None, version: Microversion) -> Schema | None:
    """Before the first `since` there is no schema: nothing of the kind is accepted or read."""
    if choice is None:
        return None
    if _is_versioned(choice):
        return next((schema for since, schema in reversed(choice) if since <= version), None)
    assert isinstance(choice, Mapping)
    return choice
