"""Projects. Options, tags and nesting are accepted where they say nothing (clients send them empty)."""

from __future__ import annotations

from typing import Any

from fabric.api.identity.schemas.fields import (
    BOOLEAN,
    DESCRIPTION,
    ID,
    NO_OPTIONS,
    NO_TAGS,
    closed,
    filters,
    name,
    wrapped,
)

_NAME = name(64)
_CHANGEABLE: dict[str, Any] = {
    "name": _NAME,
    "description": DESCRIPTION,
    "enabled": BOOLEAN,
    "tags": NO_TAGS,
    "options": NO_OPTIONS,
    "is_domain": {"const": False},
}
CREATE = wrapped(
    "project",
    closed(
        {**_CHANGEABLE, "domain_id": ID, "parent_id": {"type": ["string", "null"], "maxLength": 64}},
        required=("name",),
    ),
)
UPDATE = wrapped("project", {**closed(_CHANGEABLE), "minProperties": 1})
LIST = filters("name", "enabled", "domain_id", "parent_id", "is_domain")
