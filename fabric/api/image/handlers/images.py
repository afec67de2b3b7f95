"""Image records: list, show, create, change, delete."""

from __future__ import annotations

from aiohttp import web

from fabric.api.image.editing import apply_patch, fields_of_body
from fabric.api.image.json_patch import MEDIA_TYPE_20, MEDIA_TYPE_21, parse_patch
from fabric.api.image.listing import parse_filter, parse_page
from fabric.api.image.views import images as view
from fabric.api.request import base_url, body, caller, cloud
from fabric.api.responses import empty_response, json_response
from fabric.api.validation import read_json
from fabric.control import images
from fabric.control.images import fields_of
from proto.ids import ImageId, ProjectId

IMPORT_METHODS: tuple[str, ...] = ()  # bytes come by PUT /file; the import workflow is not offered yet
_PATCH_BYTES_MAX = 1 << 20


async def index(request: web.Request) -> web.Response:
    wanted, page = parse_filter(request.query), parse_page(request.query)
    assert page.limit is not None, "parse_page always sets one"
    found = await images.list_images(cloud(request), caller(request), wanted, page) if page.limit else ()
    return json_response(view.render_page(found, list(request.query.items()), limit=page.limit))


async def show(request: web.Request) -> web.Response:
    image = await images.get_image(cloud(request), caller(request), image_id(request))
    return json_response(view.render(image))


async def create(request: web.Request) -> web.Response:
    fields = body(request)
    new_id, owner = fields.get("id"), fields.get("owner")
    image = await images.create_image(
        cloud(request),
        caller(request),
        fields_of_body(fields),
        image_id=None if new_id is None else ImageId(new_id.lower()),
        owner=None if owner is None else ProjectId(owner),
    )
    headers = {
        "Location": f"{base_url(request)}{request.path.rstrip('/')}/{image.image_id}",
        "OpenStack-image-import-methods": ",".join(IMPORT_METHODS),
    }
    return json_response(view.render(image), status=201, headers=headers)


async def update(request: web.Request) -> web.Response:
    document = await read_json(
        request, bytes_max=_PATCH_BYTES_MAX, content_types=(MEDIA_TYPE_21, MEDIA_TYPE_20)
    )
    operations = parse_patch(document, request.content_type)
    image = await images.update_image(
        cloud(request),
        caller(request),
        image_id(request),
        lambda current: apply_patch(fields_of(current), operations),
    )
    return json_response(view.render(image))


async def delete(request: web.Request) -> web.Response:
    await images.delete_image(cloud(request), caller(request), image_id(request))
    return empty_response(204)


def image_id(request: web.Request) -> ImageId:
    """As sent: clients try names here first, and a name is simply an id nothing has (404)."""
    return ImageId(request.match_info["image_id"])
