"""/v3/auth: tokens, and what a token opens."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from fabric.api.faults import ApiError
from fabric.api.identity.handlers.query import self_href
from fabric.api.identity.views.collection import collection
from fabric.api.identity.views.projects import project_view
from fabric.api.identity.views.tokens import catalog_view, token_view
from fabric.api.request import base_url, body, caller, cloud, request_id
from fabric.api.responses import empty_response, json_response
from fabric.control import policy
from fabric.control.errors import ForbiddenError, NotFoundError, UnauthenticatedError
from fabric.control.login import (
    DefaultScope,
    DomainRef,
    Method,
    NoSuchScope,
    PasswordMethod,
    ProjectScope,
    Scope,
    TokenMethod,
    Unscoped,
    log_in,
)
from fabric.control.projects import list_projects_of_user
from fabric.control.roles import roles_named
from fabric.control.service_catalog import service_catalog
from fabric.control.tokens import ValidToken, revoke, validate_token
from proto.ids import ProjectId, UserId

SUBJECT = "X-Subject-Token"
_VARY = {"Vary": "X-Auth-Token"}
_UNSUPPORTED = "Attempted to authenticate with an unsupported method."


async def create(request: web.Request) -> web.Response:
    auth = body(request)["auth"]
    methods, scope = _methods(auth["identity"]), _scope(auth.get("scope"))
    text, token = await log_in(cloud(request), methods, scope)
    view = await _token_body(request, token)
    return json_response(view, status=201, headers={SUBJECT: text, **_VARY})


async def show(request: web.Request) -> web.Response:
    token = await _subject(request, rule="identity:tokens:validate_others")
    view = await _token_body(request, token)
    return json_response(view, headers={SUBJECT: request.headers[SUBJECT], **_VARY})


async def delete(request: web.Request) -> web.Response:
    token = await _subject(request, rule="identity:tokens:revoke_others")
    await revoke(cloud(request), token, request_id(request))
    return empty_response(headers=_VARY)


async def catalog(request: web.Request) -> web.Response:
    if caller(request).project_id is None:
        raise ForbiddenError("An unscoped token has no catalog: ask for a project-scoped one.")
    services = service_catalog(base_url(request), cloud(request).region)
    return json_response(collection("catalog", catalog_view(services), self_href(request)))


async def projects(request: web.Request) -> web.Response:
    who = caller(request)
    found = await list_projects_of_user(cloud(request), who, who.user_id, enabled=True)
    views = [project_view(project, base_url(request)) for project in found]
    return json_response(collection("projects", views, self_href(request)))


async def domains(request: web.Request) -> web.Response:
    """Domains the caller has a role on: roles are given on projects only, so none."""
    return json_response(collection("domains", [], self_href(request)))


async def _token_body(request: web.Request, token: ValidToken) -> dict[str, Any]:
    fabric = await cloud(request).auth.fabric(cloud(request).state)
    wants_catalog = "nocatalog" not in request.query
    services = service_catalog(base_url(request), cloud(request).region) if wants_catalog else None
    return token_view(token, fabric, await roles_named(cloud(request), token.roles), services)


async def _subject(request: web.Request, *, rule: str) -> ValidToken:
    """The token asked about: one's own user's, or anybody's with the rule."""
    text = request.headers.get(SUBJECT)
    if not text:
        raise ApiError(400, f"The header {SUBJECT} is missing: it names the token asked about.")
    try:
        token = await validate_token(cloud(request), text)
    except UnauthenticatedError as error:
        raise NotFoundError("Could not find token: it is expired, revoked or not one of ours.") from error
    if token.user.user_id != caller(request).user_id:
        policy.require(caller(request), rule)
    return token


def _methods(identity: dict[str, Any]) -> tuple[Method, ...]:
    methods: list[Method] = []
    for name in identity["methods"]:
        if name not in ("password", "token"):
            raise UnauthenticatedError(_UNSUPPORTED)
        if name not in identity:
            raise ApiError(
                400, f"Invalid input for field/attribute {name}. It is named in methods but missing."
            )
        methods.append(
            _password(identity[name]["user"]) if name == "password" else TokenMethod(identity[name]["id"])
        )
    return tuple(methods)


def _password(user: dict[str, Any]) -> PasswordMethod:
    return PasswordMethod(
        user_id=UserId(user["id"]) if "id" in user else None,
        name=user.get("name"),
        domain=_domain(user),
        password=user["password"],
    )


def _scope(scope: dict[str, Any] | str | None) -> Scope:
    if scope is None:
        return DefaultScope()
    if scope == "unscoped" or "unscoped" in scope:
        return Unscoped()
    if isinstance(scope, str) or "project" not in scope:
        return NoSuchScope()
    project = scope["project"]
    return ProjectScope(
        project_id=ProjectId(project["id"]) if "id" in project else None,
        name=project.get("name"),
        domain=_domain(project),
    )


def _domain(owner: dict[str, Any]) -> DomainRef:
    domain = owner.get("domain", {})
    return DomainRef(domain_id=domain.get("id"), name=domain.get("name"))
