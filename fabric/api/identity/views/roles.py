"""Roles and assignments."""

from __future__ import annotations

from typing import Any

from fabric.control.roles import AssignmentView
from fabric.core.identity.model import FabricIdentity, Role


def role_view(role: Role, base: str) -> dict[str, Any]:
    return {
        "id": role.role_id,
        "name": role.name,
        "domain_id": None,
        "description": role.description,
        "options": {},
        "links": {"self": f"{base}/identity/v3/roles/{role.role_id}"},
    }


def assignment_view(view: AssignmentView, fabric: FabricIdentity, base: str) -> dict[str, Any]:
    given = view.assignment
    domain = {"id": fabric.domain_id, "name": fabric.domain_name}
    role: dict[str, Any] = {"id": given.role_id}
    user: dict[str, Any] = {"id": given.user_id}
    project: dict[str, Any] = {"id": given.project_id}
    if view.role is not None:
        role["name"] = view.role.name
    if view.user is not None:
        user |= {"name": view.user.name, "domain": domain}
    if view.project is not None:
        project |= {"name": view.project.name, "domain": domain}
    granted = view.prior_role_id or given.role_id
    path = f"projects/{given.project_id}/users/{given.user_id}/roles/{granted}"
    links = {"assignment": f"{base}/identity/v3/{path}"}
    if view.prior_role_id is not None:
        links["prior_role"] = f"{base}/identity/v3/prior_role/{view.prior_role_id}/implies/{given.role_id}"
    return {"scope": {"project": project}, "user": user, "role": role, "links": links}
