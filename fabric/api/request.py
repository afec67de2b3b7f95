"""What a handler is given beside the request. The pipeline puts it there; handlers only read it.

`cloud`, `caller`, `microversion`, `request_id`, `base_url`: see each. `body` is the parsed and
schema-checked JSON body (Routes with `body=`); the query string, already checked when the Route has
`query=`, is read from `request.query` as usual.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from fabric.api.microversion import Microversion
from fabric.control.context import Caller, Cloud
from proto.ids import RequestId

CLOUD: web.AppKey[Cloud] = web.AppKey("cloud", Cloud)
CALLER: web.RequestKey[Caller] = web.RequestKey("caller", Caller)
MICROVERSION: web.RequestKey[Microversion] = web.RequestKey("microversion", Microversion)
REQUEST_ID: web.RequestKey[RequestId] = web.RequestKey("request_id")
GLOBAL_REQUEST_ID: web.RequestKey[RequestId | None] = web.RequestKey("global_request_id")
BODY: web.RequestKey[dict[str, Any]] = web.RequestKey("body")


def cloud(request: web.Request) -> Cloud:
    return request.config_dict[CLOUD]


def caller(request: web.Request) -> Caller:
    """The authenticated caller. Only on routes that are not public."""
    return request[CALLER]


def microversion(request: web.Request) -> Microversion:
    """Of dialects that have them."""
    return request[MICROVERSION]


def request_id(request: web.Request) -> RequestId:
    """This request's own id, made here: it also names the command the request proposes.

    Never the client's: one `X-OpenStack-Request-ID` may cover many requests (`global_request_id`).
    """
    return request[REQUEST_ID]


def global_request_id(request: web.Request) -> RequestId | None:
    """The well-formed id the client sent along, for logs."""
    return request.get(GLOBAL_REQUEST_ID)


def body(request: web.Request) -> dict[str, Any]:
    """The JSON body, checked against the route's schema. Only on Routes with `body=`."""
    return request[BODY]


def base_url(request: web.Request) -> str:
    """The cloud's public URL, or the scheme, host and port the client came by; no slash at the end.
    Every href begins with it."""
    public_url = cloud(request).public_url
    if public_url is not None:
        return public_url.rstrip("/")
    if "Host" in request.headers:
        return f"{request.scheme}://{request.host}"
    name = request.transport.get_extra_info("sockname") if request.transport else None  # HTTP/1.0
    host, port = (name[0], name[1]) if isinstance(name, tuple) else ("localhost", 80)
    return f"{request.scheme}://{f'[{host}]' if ':' in host else host}:{port}"
