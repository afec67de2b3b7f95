"""/v3/roles, grants on projects, and /v3/role_assignments."""

from __future__ import annotations

from aiohttp import web

from fabric.api.identity.handlers.query import flag, self_href
from fabric.api.identity.views.collection import collection
from fabric.api.identity.views.roles import assignment_view, role_view
from fabric.api.request import base_url, body, caller, cloud
from fabric.api.responses import empty_response, json_response
from fabric.control import roles
from proto.ids import ProjectId, RoleId, UserId


async def index(request: web.Request) -> web.Response:
    found = await roles.list_roles(cloud(request), caller(request), name=request.query.get("name"))
    if request.query.get("domain_id"):  # roles belong to no domain
        found = ()
    views = [role_view(role, base_url(request)) for role in found]
    return json_response(collection("roles", views, self_href(request)))


async def show(request: web.Request) -> web.Response:
    role = await roles.get_role(cloud(request), caller(request), RoleId(request.match_info["role_id"]))
    return json_response({"role": role_view(role, base_url(request))})


async def create(request: web.Request) -> web.Response:
    wanted = body(request)["role"]
    role = await roles.create_role(
        cloud(request), caller(request), name=wanted["name"], description=wanted.get("description") or ""
    )
    return json_response({"role": role_view(role, base_url(request))}, status=201)


async def delete(request: web.Request) -> web.Response:
    await roles.delete_role(cloud(request), caller(request), RoleId(request.match_info["role_id"]))
    return empty_response()


async def grant_index(request: web.Request) -> web.Response:
    project_id, user_id = _pair(request)
    found = await roles.list_grants(cloud(request), caller(request), project_id, user_id)
    views = [role_view(role, base_url(request)) for role in found]
    return json_response(collection("roles", views, self_href(request)))


async def grant_check(request: web.Request) -> web.Response:
    await roles.check_grant(cloud(request), caller(request), *_triple(request))
    return empty_response()


async def grant_create(request: web.Request) -> web.Response:
    await roles.grant(cloud(request), caller(request), *_triple(request))
    return empty_response()


async def grant_delete(request: web.Request) -> web.Response:
    await roles.revoke_grant(cloud(request), caller(request), *_triple(request))
    return empty_response()


async def assignment_index(request: web.Request) -> web.Response:
    query = request.query
    wanted = roles.AssignmentFilter(
        user_id=UserId(query["user.id"]) if "user.id" in query else None,
        project_id=ProjectId(query["scope.project.id"]) if "scope.project.id" in query else None,
        role_id=RoleId(query["role.id"]) if "role.id" in query else None,
    )
    found = await roles.list_role_assignments(
        cloud(request),
        caller(request),
        wanted,
        effective=flag(request, "effective"),
        include_names=flag(request, "include_names"),
    )
    if any(key in query for key in ("group.id", "scope.domain.id", "scope.system")):
        found = ()  # roles are given to users on projects, so those select nothing
    fabric = await cloud(request).auth.fabric(cloud(request).state)
    views = [assignment_view(view, fabric, base_url(request)) for view in found]
    return json_response(collection("role_assignments", views, self_href(request)))


def _pair(request: web.Request) -> tuple[ProjectId, UserId]:
    return ProjectId(request.match_info["project_id"]), UserId(request.match_info["user_id"])


def _triple(request: web.Request) -> tuple[ProjectId, UserId, RoleId]:
    return *_pair(request), RoleId(request.match_info["role_id"])
