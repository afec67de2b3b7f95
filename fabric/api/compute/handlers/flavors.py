"""/flavors, their extra specs and who may use them."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from aiohttp import web

from fabric.api.compute.extra_specs import check_extra_specs
from fabric.api.compute.links import links_of
from fabric.api.compute.paging import next_links, parse_paging, parse_sort
from fabric.api.compute.schemas import flavors as schemas
from fabric.api.compute.schemas.parameters import BOOLEAN, INT_MAX, as_boolean, as_integer
from fabric.api.compute.versions import v
from fabric.api.compute.views import flavors as view
from fabric.api.faults import ApiError
from fabric.api.request import body, caller, cloud, microversion
from fabric.api.responses import empty_response, json_response
from fabric.api.validation import check_body
from fabric.control import flavors
from fabric.control.regex_filter import checked_pattern
from fabric.core.catalog.model import Flavor
from proto.ids import ProjectId

SORT_FIELDS = {
    "flavorid": "flavorid",
    "name": "name",
    "memory_mb": "memory_mb",
    "vcpus": "vcpus",
    "root_gb": "root_gb",
    "ephemeral_gb": "ephemeral_gb",
    "swap": "swap",
    "is_public": "is_public",
    "created_at": "created_at",
}


def _flavor_id(request: web.Request) -> str:
    return request.match_info["flavor_id"]


async def index(request: web.Request) -> web.Response:
    return await _list(request, detailed=False)


async def detail(request: web.Request) -> web.Response:
    return await _list(request, detailed=True)


async def _list(request: web.Request, *, detailed: bool) -> web.Response:
    paging = parse_paging(request)
    sort = parse_sort(request, SORT_FIELDS) if "sort_key" in request.query else ()
    if "sort_dir" in request.query and not sort:
        direction = request.query["sort_dir"]
        if direction not in ("asc", "desc"):
            raise ApiError(400, "sort_dir: it must be 'asc' or 'desc'.")
        sort = (("flavorid", direction),)
    elif sort and "sort_dir" not in request.query:
        sort = tuple((field, "asc") for field, _ in sort)
    search = flavors.FlavorSearch(
        is_public=_is_public(request),
        min_ram_mb=_minimum(request, "minRam"),
        min_disk_gb=_minimum(request, "minDisk"),
        name_regex=_name(request),
    )
    found: tuple[Flavor, ...] = ()
    if paging.limit:
        found = await flavors.list_flavors(cloud(request), caller(request), search, paging.page(sort))
    version, links, render = microversion(request), links_of(request), view.detail if detailed else view.brief
    result: dict[str, object] = {"flavors": [render(flavor, version, links) for flavor in found]}
    more = next_links(request, found, paging, lambda flavor: flavor.flavor_id)
    if more:
        result["flavors_links"] = more
    return json_response(result)


def _is_public(request: web.Request) -> bool | None:
    """A literal `None` is both kinds."""
    text = request.query.get("is_public")
    if text is None:
        return True
    if text.lower() == "none":
        return None
    if text not in BOOLEAN["enum"]:
        raise ApiError(400, f"Invalid is_public filter [{text[:64]}]")
    return as_boolean(text)


def _name(request: web.Request) -> str | None:
    """A regular expression, from 2.102 on."""
    text = request.query.get("name")
    if not text or microversion(request) < v(102):
        return None
    return checked_pattern("name", text)


def _minimum(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise ApiError(400, f"Invalid {name} filter [{text[:64]}]")
    return int(text)


async def show(request: web.Request) -> web.Response:
    return _one(request, await flavors.get_flavor(cloud(request), caller(request), _flavor_id(request)))


def _one(request: web.Request, flavor: Flavor) -> web.Response:
    return json_response({"flavor": view.detail(flavor, microversion(request), links_of(request))})


async def create(request: web.Request) -> web.Response:
    wanted = body(request)["flavor"]
    new = flavors.NewFlavor(
        name=wanted["name"],
        flavor_id=None if wanted.get("id") is None else str(wanted["id"]),
        vcpus=_size(wanted, "vcpus", 1),
        memory_mb=_size(wanted, "ram", 1),
        root_gb=_size(wanted, "disk", 0),
        ephemeral_gb=_size(wanted, "OS-FLV-EXT-DATA:ephemeral", 0),
        swap_mb=_size(wanted, "swap", 0),
        is_public=as_boolean(wanted.get("os-flavor-access:is_public", True)),
        description=wanted.get("description"),
        rxtx_factor_milli=_rxtx_milli(wanted.get("rxtx_factor", 1)),
    )
    return _one(request, await flavors.create_flavor(cloud(request), caller(request), new))


def _size(wanted: dict[str, Any], name: str, low: int) -> int:
    size = as_integer(wanted.get(name, 0), low)
    if size is None:
        raise ApiError(400, f"Invalid input for field/attribute {name}: it must be from {low} to {INT_MAX}.")
    return size


def _rxtx_milli(value: float | str) -> int:
    milli = int(Decimal(str(value)) * 1_000)
    if not 0 < milli <= schemas.RXTX_MAX * 1_000:
        raise ApiError(
            400, "Invalid input for field/attribute rxtx_factor: it must be from 0.001 to 1000000."
        )
    return milli


async def update(request: web.Request) -> web.Response:
    description = body(request)["flavor"]["description"]
    return _one(
        request,
        await flavors.set_description(cloud(request), caller(request), _flavor_id(request), description),
    )


async def delete(request: web.Request) -> web.Response:
    await flavors.delete_flavor(cloud(request), caller(request), _flavor_id(request))
    return empty_response(202)


async def specs(request: web.Request) -> web.Response:
    flavor = await flavors.get_flavor(cloud(request), caller(request), _flavor_id(request))
    return json_response({"extra_specs": dict(flavor.extra_specs)})


async def add_specs(request: web.Request) -> web.Response:
    wanted = _checked_specs(request, body(request)["extra_specs"])
    await _set_specs(request, wanted)
    return json_response({"extra_specs": wanted})


async def show_spec(request: web.Request) -> web.Response:
    key = request.match_info["key"]
    flavor = await flavors.get_flavor(cloud(request), caller(request), _flavor_id(request))
    return json_response({key: flavors.extra_spec(flavor, key)})


async def set_spec(request: web.Request) -> web.Response:
    wanted = _checked_specs(request, body(request))
    if request.match_info["key"] not in wanted:
        raise ApiError(400, "Request body and URI mismatch")
    await _set_specs(request, wanted)
    return json_response(wanted)


async def remove_spec(request: web.Request) -> web.Response:
    key = request.match_info["key"]
    await flavors.unset_extra_spec(cloud(request), caller(request), _flavor_id(request), key)
    return empty_response(200)


async def _set_specs(request: web.Request, wanted: dict[str, str]) -> None:
    is_checked = microversion(request) >= v(86)
    await flavors.set_extra_specs(
        cloud(request), caller(request), _flavor_id(request), wanted, is_checked=is_checked
    )


def _checked_specs(request: web.Request, wanted: dict[str, Any]) -> dict[str, str]:
    specs = {key: str(value) for key, value in wanted.items()}
    if microversion(request) >= v(86):
        check_extra_specs(specs)
    return specs


async def access(request: web.Request) -> web.Response:
    projects = await flavors.access_list(cloud(request), caller(request), _flavor_id(request))
    return _access(request, projects)


async def act(request: web.Request) -> web.Response:
    document = body(request)
    if len(document) != 1:
        raise ApiError(400, "Malformed request body: it must hold exactly one action.")
    if "addTenantAccess" in document:
        check_body(document, schemas.ADD_ACCESS)
        projects = await flavors.add_access(
            cloud(request),
            caller(request),
            _flavor_id(request),
            ProjectId(document["addTenantAccess"]["tenant"]),
            refuse_public=microversion(request) >= v(7),
        )
    elif "removeTenantAccess" in document:
        check_body(document, schemas.REMOVE_ACCESS)
        project_id = ProjectId(document["removeTenantAccess"]["tenant"])
        projects = await flavors.remove_access(
            cloud(request), caller(request), _flavor_id(request), project_id
        )
    else:
        raise ApiError(400, f"There is no such action: {next(iter(document))[:64]}")
    return _access(request, projects)


def _access(request: web.Request, projects: Iterable[ProjectId]) -> web.Response:
    rows = [{"flavor_id": _flavor_id(request), "tenant_id": project} for project in projects]
    return json_response({"flavor_access": rows})
