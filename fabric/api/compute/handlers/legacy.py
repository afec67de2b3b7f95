"""What old clients still probe for, and lists that are truly empty."""

from __future__ import annotations

from aiohttp import web

from fabric.api.faults import ApiError
from fabric.api.responses import json_response


async def extensions(request: web.Request) -> web.Response:
    """Microversions took their place; Nova's list, too, says nothing any more."""
    return json_response({"extensions": []})


async def extension(request: web.Request) -> web.Response:
    raise ApiError(404, "The resource could not be found.")


async def server_groups(request: web.Request) -> web.Response:
    """None can be made yet, so there are none."""
    return json_response({"server_groups": []})


async def no_server_group(request: web.Request) -> web.Response:
    raise ApiError(404, f"Instance group {request.match_info['group_id'][:64]} could not be found.")


async def create_server_group(request: web.Request) -> web.Response:
    raise ApiError(501, "Server groups are not implemented yet.")


async def aggregates(request: web.Request) -> web.Response:
    """None can be made yet, so there are none."""
    return json_response({"aggregates": []})


async def no_aggregate(request: web.Request) -> web.Response:
    raise ApiError(404, f"Aggregate {request.match_info['aggregate_id'][:64]} could not be found.")


async def create_aggregate(request: web.Request) -> web.Response:
    raise ApiError(501, "Aggregates are not implemented yet.")
