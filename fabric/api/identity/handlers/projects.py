"""/v3/projects and /v3/domains."""

from __future__ import annotations

from aiohttp import web

from fabric.api.identity.handlers.query import optional_flag, self_href
from fabric.api.identity.views.collection import collection
from fabric.api.identity.views.projects import domain_view, project_view
from fabric.api.request import base_url, body, caller, cloud
from fabric.api.responses import empty_response, json_response
from fabric.control import projects
from fabric.control.errors import NotFoundError
from proto.ids import ProjectId


async def index(request: web.Request) -> web.Response:
    found = await projects.list_projects(
        cloud(request),
        caller(request),
        name=request.query.get("name"),
        enabled=optional_flag(request, "enabled"),
    )
    wanted = [request.query[key] for key in ("domain_id", "parent_id") if key in request.query]
    views = [
        project_view(project, base_url(request))
        for project in found
        if all(domain_id == project.domain_id for domain_id in wanted)
        and not optional_flag(request, "is_domain")
    ]
    return json_response(collection("projects", views, self_href(request)))


async def show(request: web.Request) -> web.Response:
    project = await projects.get_project(cloud(request), caller(request), _id(request))
    return json_response({"project": project_view(project, base_url(request))})


async def create(request: web.Request) -> web.Response:
    wanted = body(request)["project"]
    project = await projects.create_project(
        cloud(request),
        caller(request),
        name=wanted["name"],
        description=wanted.get("description") or "",
        enabled=wanted.get("enabled", True),
        domain_id=wanted.get("domain_id"),
        parent_id=wanted.get("parent_id"),
    )
    return json_response({"project": project_view(project, base_url(request))}, status=201)


async def update(request: web.Request) -> web.Response:
    wanted = body(request)["project"]
    description = (wanted["description"] or "") if "description" in wanted else None
    project = await projects.update_project(
        cloud(request),
        caller(request),
        _id(request),
        name=wanted.get("name"),
        description=description,
        enabled=wanted.get("enabled"),
    )
    return json_response({"project": project_view(project, base_url(request))})


async def delete(request: web.Request) -> web.Response:
    await projects.delete_project(cloud(request), caller(request), _id(request))
    return empty_response()


async def domain_index(request: web.Request) -> web.Response:
    fabric = await projects.domain_of(cloud(request), caller(request))
    is_wanted = request.query.get("name", fabric.domain_name) == fabric.domain_name
    if optional_flag(request, "enabled") is False:
        is_wanted = False
    views = [domain_view(fabric, base_url(request))] if is_wanted else []
    return json_response(collection("domains", views, self_href(request)))


async def domain_show(request: web.Request) -> web.Response:
    fabric = await projects.domain_of(cloud(request), caller(request))
    if request.match_info["domain_id"] != fabric.domain_id:
        raise NotFoundError(f"Could not find domain: {request.match_info['domain_id']}.")
    return json_response({"domain": domain_view(fabric, base_url(request))})


def _id(request: web.Request) -> ProjectId:
    return ProjectId(request.match_info["project_id"])
