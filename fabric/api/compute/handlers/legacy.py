"""What old clients still probe for."""

from __future__ import annotations

from aiohttp import web

from fabric.api.faults import ApiError
from fabric.api.responses import json_response


async def extensions(request: web.Request) -> web.Response:
    """Microversions took their place; Nova's list, too, says nothing any more."""
    return json_response({"extensions": []})


async def extension(request: web.Request) -> web.Response:
    raise ApiError(404, "The resource could not be found.")
