"""/v3/users."""

from __future__ import annotations

from aiohttp import web

from fabric.api.identity.handlers.query import optional_flag, self_href
from fabric.api.identity.views.collection import collection
from fabric.api.identity.views.projects import project_view
from fabric.api.identity.views.users import user_view
from fabric.api.request import base_url, body, caller, cloud
from fabric.api.responses import empty_response, json_response
from fabric.control import projects, users
from proto.ids import UserId


async def index(request: web.Request) -> web.Response:
    found = await users.list_users(
        cloud(request),
        caller(request),
        name=request.query.get("name"),
        enabled=optional_flag(request, "enabled"),
    )
    views = [
        user_view(user, base_url(request))
        for user in found
        if request.query.get("domain_id", user.domain_id) == user.domain_id
    ]
    return json_response(collection("users", views, self_href(request)))


async def show(request: web.Request) -> web.Response:
    user = await users.get_user(cloud(request), caller(request), _id(request))
    return json_response({"user": user_view(user, base_url(request))})


async def create(request: web.Request) -> web.Response:
    wanted = body(request)["user"]
    new = users.NewUser(
        name=wanted["name"],
        password=wanted.get("password"),
        domain_id=wanted.get("domain_id"),
        enabled=wanted.get("enabled", True),
        default_project_id=wanted.get("default_project_id"),
        description=wanted.get("description") or "",
        email=wanted.get("email"),
    )
    user = await users.create_user(cloud(request), caller(request), new)
    return json_response({"user": user_view(user, base_url(request))}, status=201)


async def update(request: web.Request) -> web.Response:
    wanted = body(request)["user"]
    change = users.UserChange(
        name=wanted.get("name"),
        password=wanted.get("password"),
        enabled=wanted.get("enabled"),
        default_project_id=wanted.get("default_project_id"),
        description=(wanted["description"] or "") if "description" in wanted else None,
        email=wanted.get("email"),
    )
    user = await users.update_user(cloud(request), caller(request), _id(request), change)
    return json_response({"user": user_view(user, base_url(request))})


async def delete(request: web.Request) -> web.Response:
    await users.delete_user(cloud(request), caller(request), _id(request))
    return empty_response()


async def change_password(request: web.Request) -> web.Response:
    wanted = body(request)["user"]
    await users.change_password(
        cloud(request),
        caller(request),
        _id(request),
        original=wanted["original_password"],
        password=wanted["password"],
    )
    return empty_response()


async def project_index(request: web.Request) -> web.Response:
    user = await users.get_user(cloud(request), caller(request), _id(request))
    found = await projects.list_projects_of_user(
        cloud(request),
        caller(request),
        user.user_id,
        name=request.query.get("name"),
        enabled=optional_flag(request, "enabled"),
    )
    views = [project_view(project, base_url(request)) for project in found]
    return json_response(collection("projects", views, self_href(request)))


def _id(request: web.Request) -> UserId:
    return UserId(request.match_info["user_id"])
