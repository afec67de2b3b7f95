"""/os-keypairs."""

from __future__ import annotations

from aiohttp import web

from fabric.api.compute.paging import LIMIT_MAX, Paging, next_links, parse_paging
from fabric.api.compute.versions import v
from fabric.api.compute.views import keypairs as view
from fabric.api.request import body, caller, cloud, microversion
from fabric.api.responses import empty_response, json_response
from fabric.control import keypairs
from fabric.core.catalog.model import Keypair


def _user_id(request: web.Request) -> str | None:
    """Another user's, from 2.10."""
    return request.query.get("user_id") if microversion(request) >= v(10) else None


async def index(request: web.Request) -> web.Response:
    version = microversion(request)
    paged = version >= v(35)
    paging = parse_paging(request) if paged else Paging(LIMIT_MAX, None)
    found: tuple[Keypair, ...] = ()
    if paging.limit:
        found = await keypairs.list_keypairs(
            cloud(request), caller(request), paging.page(), user_id=_user_id(request)
        )
    result: dict[str, object] = {"keypairs": [{"keypair": view.listed(each, version)} for each in found]}
    links = next_links(request, found, paging, lambda each: each.name) if paged else []
    if links:
        result["keypairs_links"] = links
    return json_response(result)


async def create(request: web.Request) -> web.Response:
    wanted, version = body(request)["keypair"], microversion(request)
    made = await keypairs.create_keypair(
        cloud(request),
        caller(request),
        name=wanted["name"],
        key_type=wanted.get("type", "ssh"),
        public_key=wanted.get("public_key"),
        user_id=wanted.get("user_id"),
    )
    return json_response(
        {"keypair": view.created(made.keypair, made.private_key, version)},
        status=201 if version >= v(2) else 200,
    )


async def show(request: web.Request) -> web.Response:
    found = await keypairs.get_keypair(
        cloud(request), caller(request), request.match_info["name"], user_id=_user_id(request)
    )
    return json_response({"keypair": view.shown(found, microversion(request))})


async def delete(request: web.Request) -> web.Response:
    await keypairs.delete_keypair(
        cloud(request), caller(request), request.match_info["name"], user_id=_user_id(request)
    )
    return empty_response(204 if microversion(request) >= v(2) else 202)
