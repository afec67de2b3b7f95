"""`X-Auth-Token` -> Caller. Routes marked `public` are answered without one."""

from __future__ import annotations

from aiohttp import web

from fabric.api.request import CALLER, cloud, request_id
from fabric.control.errors import UnauthenticatedError
from fabric.control.tokens import authenticate_token

TOKEN_HEADER = "X-Auth-Token"  # noqa: S105  # a header's name
UNAUTHENTICATED = "The request you have made requires authentication."


async def authenticate(request: web.Request) -> None:
    """Puts the Caller beside the request. Raises: UnauthenticatedError."""
    text = request.headers.get(TOKEN_HEADER)
    if not text:
        raise UnauthenticatedError(UNAUTHENTICATED)
    request[CALLER] = await authenticate_token(cloud(request), text, request_id(request))
