"""What a handler is given beside the request. The middlewares put it there; handlers only read it."""

from __future__ import annotations

from aiohttp import web

from fabric.api.microversion import Microversion
from fabric.control.context import Caller, Cloud
from proto.ids import RequestId

CLOUD: web.AppKey[Cloud] = web.AppKey("cloud", Cloud)
CALLER = "fabric.caller"
MICROVERSION = "fabric.microversion"
REQUEST_ID = "fabric.request_id"


def cloud(request: web.Request) -> Cloud:
    return request.config_dict[CLOUD]


def caller(request: web.Request) -> Caller:
    """The authenticated caller. Only on routes that are not public."""
    value: Caller = request[CALLER]
    return value


def microversion(request: web.Request) -> Microversion:
    """Compute only."""
    value: Microversion = request[MICROVERSION]
    return value


def request_id(request: web.Request) -> RequestId:
    value: RequestId = request[REQUEST_ID]
    return value


def base_url(request: web.Request) -> str:
    """Scheme, host and port the client came by, no slash at the end: every href begins with it."""
    return f"{request.scheme}://{request.host}"
