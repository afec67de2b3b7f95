"""Image v2 below its mount. Version documents are in `fabric/api/versions.py`."""

from __future__ import annotations

from aiohttp import web

from fabric.api.faults import GLANCE
from fabric.api.image.handlers import discovery, image_file, images, members, tags
from fabric.api.image.schemas.images import CREATE
from fabric.api.routing import Route, build_app

_IMAGE = "/v2/images/{image_id}"

ROUTES: tuple[Route, ...] = (
    Route("GET", "/v2/images", images.index),
    Route("POST", "/v2/images", images.create, body=CREATE),
    Route("GET", _IMAGE, images.show),
    Route("PATCH", _IMAGE, images.update),
    Route("DELETE", _IMAGE, images.delete),
    Route("PUT", f"{_IMAGE}/file", image_file.upload),
    Route("GET", f"{_IMAGE}/file", image_file.download),
    Route("PUT", f"{_IMAGE}/tags/{{tag}}", tags.add),
    Route("DELETE", f"{_IMAGE}/tags/{{tag}}", tags.remove),
    Route("GET", f"{_IMAGE}/members", members.index),
    Route("POST", f"{_IMAGE}/members", members.create),
    Route("GET", f"{_IMAGE}/members/{{member_id}}", members.missing),
    Route("PUT", f"{_IMAGE}/members/{{member_id}}", members.missing),
    Route("DELETE", f"{_IMAGE}/members/{{member_id}}", members.missing),
    Route("GET", "/v2/schemas/{name}", discovery.schema),
    Route("GET", "/v2/info/import", discovery.import_info),
    Route("GET", "/v2/info/stores", discovery.stores),
)


def app() -> web.Application:
    """To be mounted on `/image`."""
    return build_app("image", ROUTES, GLANCE)
