"""Members of a shared image: there are none, because sharing with single projects is not offered yet."""

from __future__ import annotations

from aiohttp import web

from fabric.api.faults import ApiError
from fabric.api.image.handlers.images import image_id
from fabric.api.request import caller, cloud
from fabric.api.responses import json_response
from fabric.control import images


async def index(request: web.Request) -> web.Response:
    image = await images.get_image(cloud(request), caller(request), image_id(request))
    if image.visibility != "shared":
        raise ApiError(403, "Only shared images have members.")
    return json_response({"members": [], "schema": "/v2/schemas/members"})


async def create(request: web.Request) -> web.Response:
    await images.get_image(cloud(request), caller(request), image_id(request))
    raise ApiError(
        403,
        "Sharing an image with single projects is not offered yet; set its visibility to 'community', or let "
        "an admin make it 'public'.",
    )


async def missing(request: web.Request) -> web.Response:
    """Show, update and remove of a member that cannot be."""
    await images.get_image(cloud(request), caller(request), image_id(request))
    raise ApiError(404, f"{request.match_info['member_id'][:255]} not found in the member list of the image.")
