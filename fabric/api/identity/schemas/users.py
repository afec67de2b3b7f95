"""Users."""

from __future__ import annotations

from typing import Any

from fabric.api.identity.schemas.fields import (
    BOOLEAN,
    DESCRIPTION,
    ID,
    NO_OPTIONS,
    closed,
    filters,
    name,
    wrapped,
)

_PASSWORD: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": 4096}
_CHANGEABLE: dict[str, Any] = {
    "name": name(255),
    "password": _PASSWORD,
    "enabled": BOOLEAN,
    "default_project_id": ID,
    "description": DESCRIPTION,
    "email": {"type": "string", "maxLength": 255},
    "options": NO_OPTIONS,
}
_NULLABLE: dict[str, Any] = {  # at creation, null says the same as leaving it out
    "password": {**_PASSWORD, "type": ["string", "null"]},
    "default_project_id": {**ID, "type": ["string", "null"]},
    "email": {"type": ["string", "null"], "maxLength": 255},
}
CREATE = wrapped("user", closed({**_CHANGEABLE, **_NULLABLE, "domain_id": ID}, required=("name",)))
UPDATE = wrapped("user", {**closed(_CHANGEABLE), "minProperties": 1})
CHANGE_PASSWORD = wrapped(
    "user",
    closed(
        {"password": _PASSWORD, "original_password": _PASSWORD}, required=("password", "original_password")
    ),
)
LIST = filters("name", "enabled", "domain_id")
