"""Users. Never a password or its hash."""

from __future__ import annotations

from typing import Any

from fabric.core.identity.model import User


def user_view(user: User, base: str) -> dict[str, Any]:
    view: dict[str, Any] = {
        "id": user.user_id,
        "name": user.name,
        "domain_id": user.domain_id,
        "enabled": user.enabled,
        "password_expires_at": None,
        "options": {},
        "links": {"self": f"{base}/identity/v3/users/{user.user_id}"},
    }
    if user.description:
        view["description"] = user.description
    if user.email is not None:
        view["email"] = user.email
    if user.default_project_id is not None:
        view["default_project_id"] = user.default_project_id
    return view
