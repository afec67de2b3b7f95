"""Roles and assignments."""

from __future__ import annotations

from fabric.api.identity.schemas.fields import DESCRIPTION, NO_OPTIONS, closed, filters, name, wrapped

CREATE = wrapped(
    "role",
    closed(
        {
            "name": name(255),
            "description": DESCRIPTION,
            "options": NO_OPTIONS,
            "domain_id": {"type": "null"},  # roles belong to no domain here
        },
        required=("name",),
    ),
)
LIST = filters("name", "domain_id")
ASSIGNMENTS = filters(
    "user.id",
    "group.id",
    "role.id",
    "scope.project.id",
    "scope.domain.id",
    "scope.system",
    "effective",
    "include_names",
)
