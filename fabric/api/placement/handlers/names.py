"""/resource_classes and /traits."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from fabric.api.faults import ApiError
from fabric.api.placement.answers import MOUNT, answer, location, nothing
from fabric.api.request import body, caller, cloud
from fabric.control.placement import names
from fabric.core.placement.resources import STANDARD_CLASSES
from fabric.core.providers.names import is_custom
from fabric.core.providers.standard_traits import STANDARD_TRAITS

_IN, _STARTS_WITH = "in:", "startswith:"


async def classes(request: web.Request) -> web.Response:
    found = await names.list_classes(cloud(request), caller(request))
    return answer(request, {"resource_classes": [_class(name) for name in found]})


async def create_class(request: web.Request) -> web.Response:
    name = body(request)["name"]
    await names.create_class(cloud(request), caller(request), name)
    return nothing(request, 201, headers=location(request, f"/resource_classes/{name}"))


async def show_class(request: web.Request) -> web.Response:
    name = request.match_info["name"]
    await names.need_class(cloud(request), caller(request), name)
    return answer(request, _class(name))


async def rename_class(request: web.Request) -> web.Response:
    """From 1.2 to 1.6."""
    to = body(request)["name"]
    await names.rename_class(cloud(request), caller(request), request.match_info["name"], to)
    return answer(request, _class(to))


async def ensure_class(request: web.Request) -> web.Response:
    """From 1.7: it is there afterwards."""
    name = request.match_info["name"]
    if not is_custom(name) and name not in STANDARD_CLASSES:
        raise ApiError(400, f"Invalid resource class {name[:255]}: one's own begin with CUSTOM_.")
    made = await names.ensure_class(cloud(request), caller(request), name)
    return nothing(request, 201 if made else 204, headers=location(request, f"/resource_classes/{name}"))


async def delete_class(request: web.Request) -> web.Response:
    await names.delete_class(cloud(request), caller(request), request.match_info["name"])
    return nothing(request)


def _class(name: str) -> dict[str, Any]:
    return {"name": name, "links": [{"rel": "self", "href": f"{MOUNT}/resource_classes/{name}"}]}


async def traits(request: web.Request) -> web.Response:
    wanted, associated = request.query.get("name", ""), request.query.get("associated")
    among, beginning = None, ""
    if wanted.startswith(_IN):
        among = frozenset(wanted.removeprefix(_IN).split(","))
    elif wanted.startswith(_STARTS_WITH):
        beginning = wanted.removeprefix(_STARTS_WITH)
    elif wanted:
        raise ApiError(
            400, "Badly formatted name parameter. Expected name query string parameter in form: "
            f"?name=[in|startswith]:[name1,name2|prefix]. Got: {wanted[:200]}",
        )  # fmt: skip
    found = await names.list_traits(
        cloud(request),
        caller(request),
        among=among,
        beginning=beginning,
        associated=None if associated is None else associated.lower() == "true",
    )
    return answer(request, {"traits": list(found)})


async def show_trait(request: web.Request) -> web.Response:
    await names.need_trait(cloud(request), caller(request), request.match_info["name"])
    return nothing(request)


async def ensure_trait(request: web.Request) -> web.Response:
    name = request.match_info["name"]
    if not is_custom(name) and name not in STANDARD_TRAITS:
        raise ApiError(400, f"The trait {name[:255]} is invalid: one's own begin with CUSTOM_.")
    made = await names.ensure_trait(cloud(request), caller(request), name)
    return nothing(request, 201 if made else 204, headers=location(request, f"/traits/{name}"))


async def delete_trait(request: web.Request) -> web.Response:
    await names.delete_trait(cloud(request), caller(request), request.match_info["name"])
    return nothing(request)
