"""Tags of an image, one at a time."""

from __future__ import annotations

from aiohttp import web

from fabric.api.faults import ApiError
from fabric.api.image.editing import with_tag, without_tag
from fabric.api.image.handlers.images import image_id
from fabric.api.image.schemas.images import NAME_CHARS_MAX
from fabric.api.request import caller, cloud
from fabric.api.responses import empty_response
from fabric.control import images
from fabric.control.images import fields_of


async def add(request: web.Request) -> web.Response:
    tag = _tag(request)
    await images.update_image(
        cloud(request), caller(request), image_id(request), lambda image: with_tag(fields_of(image), tag)
    )
    return empty_response(204)


async def remove(request: web.Request) -> web.Response:
    tag = _tag(request)
    await images.update_image(
        cloud(request), caller(request), image_id(request), lambda image: without_tag(fields_of(image), tag)
    )
    return empty_response(204)


def _tag(request: web.Request) -> str:
    tag = request.match_info["tag"]
    if len(tag) > NAME_CHARS_MAX:
        raise ApiError(400, f"Provided tag is too long: at most {NAME_CHARS_MAX} characters.")
    return tag
