"""What clients ask about the service itself: schemas, import methods, stores."""

from __future__ import annotations

from aiohttp import web

from fabric.api.faults import ApiError
from fabric.api.image.handlers.images import IMPORT_METHODS
from fabric.api.image.schemas.images import MEMBER, list_of, public_schema
from fabric.api.responses import json_response

STORE_ID = "fabric"  # one store: blobs by content on the nodes' disks


async def schema(request: web.Request) -> web.Response:
    match request.match_info["name"]:
        case "image":
            return json_response(public_schema())
        case "images":
            return json_response(list_of("images", public_schema()))
        case "member":
            return json_response(dict(MEMBER))
        case "members":
            return json_response(list_of("members", MEMBER))
    raise ApiError(404, "The resource could not be found.")


async def import_info(request: web.Request) -> web.Response:
    methods = {
        "description": "Import methods available.",
        "type": "array",
        "value": list(IMPORT_METHODS),
    }
    return json_response({"import-methods": methods})


async def stores(request: web.Request) -> web.Response:
    return json_response({"stores": [{"id": STORE_ID, "default": "true"}]})
