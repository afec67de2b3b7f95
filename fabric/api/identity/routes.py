"""Every Identity operation. Mounted at `/identity`."""

from __future__ import annotations

from aiohttp import web

from fabric.api.faults import KEYSTONE
from fabric.api.identity.handlers import catalog, limits, projects, registered_limits, roles, tokens, users
from fabric.api.identity.schemas import limits as limit_schemas
from fabric.api.identity.schemas import projects as project_schemas
from fabric.api.identity.schemas import roles as role_schemas
from fabric.api.identity.schemas import tokens as token_schemas
from fabric.api.identity.schemas import users as user_schemas
from fabric.api.routing import Route, build_app

_LIMIT, _REGISTERED = "/v3/limits/{limit_id}", "/v3/registered_limits/{limit_id}"
_GRANTS = "/v3/projects/{project_id}/users/{user_id}/roles"

ROUTES = (
    Route("POST", "/v3/auth/tokens", tokens.create, body=token_schemas.CREATE, public=True),
    Route("GET", "/v3/auth/tokens", tokens.show),
    Route("DELETE", "/v3/auth/tokens", tokens.delete),
    Route("GET", "/v3/auth/catalog", tokens.catalog),
    Route("GET", "/v3/auth/projects", tokens.projects),
    Route("GET", "/v3/auth/domains", tokens.domains),
    Route("GET", "/v3/domains", projects.domain_index),
    Route("GET", "/v3/domains/{domain_id}", projects.domain_show),
    Route("GET", "/v3/projects", projects.index, query=project_schemas.LIST),
    Route("POST", "/v3/projects", projects.create, body=project_schemas.CREATE),
    Route("GET", "/v3/projects/{project_id}", projects.show),
    Route("PATCH", "/v3/projects/{project_id}", projects.update, body=project_schemas.UPDATE),
    Route("DELETE", "/v3/projects/{project_id}", projects.delete),
    Route("GET", "/v3/users", users.index, query=user_schemas.LIST),
    Route("POST", "/v3/users", users.create, body=user_schemas.CREATE),
    Route("GET", "/v3/users/{user_id}", users.show),
    Route("PATCH", "/v3/users/{user_id}", users.update, body=user_schemas.UPDATE),
    Route("DELETE", "/v3/users/{user_id}", users.delete),
    Route("POST", "/v3/users/{user_id}/password", users.change_password, body=user_schemas.CHANGE_PASSWORD),
    Route("GET", "/v3/users/{user_id}/projects", users.project_index),
    Route("GET", "/v3/roles", roles.index, query=role_schemas.LIST),
    Route("POST", "/v3/roles", roles.create, body=role_schemas.CREATE),
    Route("GET", "/v3/roles/{role_id}", roles.show),
    Route("DELETE", "/v3/roles/{role_id}", roles.delete),
    Route("GET", _GRANTS, roles.grant_index),
    Route("GET", f"{_GRANTS}/{{role_id}}", roles.grant_check),
    Route("PUT", f"{_GRANTS}/{{role_id}}", roles.grant_create),
    Route("DELETE", f"{_GRANTS}/{{role_id}}", roles.grant_delete),
    Route("GET", "/v3/role_assignments", roles.assignment_index, query=role_schemas.ASSIGNMENTS),
    Route("GET", "/v3/registered_limits", registered_limits.index, query=limit_schemas.REGISTERED_LIST),
    Route("POST", "/v3/registered_limits", registered_limits.create, body=limit_schemas.REGISTERED_CREATE),
    Route("GET", _REGISTERED, registered_limits.show),
    Route("PATCH", _REGISTERED, registered_limits.update, body=limit_schemas.REGISTERED_UPDATE),
    Route("DELETE", _REGISTERED, registered_limits.delete),
    Route("GET", "/v3/limits", limits.index, query=limit_schemas.LIST),
    Route("POST", "/v3/limits", limits.create, body=limit_schemas.CREATE),
    Route("GET", "/v3/limits/model", limits.model),
    Route("GET", _LIMIT, limits.show),
    Route("PATCH", _LIMIT, limits.update, body=limit_schemas.UPDATE),
    Route("DELETE", _LIMIT, limits.delete),
    Route("GET", "/v3/services", catalog.service_index),
    Route("GET", "/v3/services/{service_id}", catalog.service_show),
    Route("GET", "/v3/endpoints", catalog.endpoint_index),
    Route("GET", "/v3/endpoints/{endpoint_id}", catalog.endpoint_show),
    Route("GET", "/v3/regions", catalog.region_index),
    Route("GET", "/v3/regions/{region_id}", catalog.region_show),
)


def app() -> web.Application:
    return build_app("identity", ROUTES, KEYSTONE)
