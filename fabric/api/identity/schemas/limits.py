"""Registered limits and limits."""

from __future__ import annotations

from typing import Any

from fabric.api.identity.schemas.fields import DESCRIPTION, ID, closed, filters, name, wrapped

_BULK_MAX = 100  # in one request, which is one entry of the log
_NUMBER: dict[str, Any] = {"type": "integer", "minimum": -1, "maximum": 0x7FFFFFFF}
_REGION: dict[str, Any] = {"type": ["string", "null"], "maxLength": 255}
_OWNER: dict[str, Any] = {**ID, "type": ["string", "null"]}
_OF_A_SERVICE: dict[str, Any] = {
    "service_id": ID,
    "region_id": _REGION,
    "resource_name": name(255),
    "description": DESCRIPTION,
}


def _bulk(key: str, item: dict[str, Any]) -> dict[str, Any]:
    return wrapped(key, {"type": "array", "items": item, "minItems": 1, "maxItems": _BULK_MAX})


_REGISTERED = {**_OF_A_SERVICE, "default_limit": _NUMBER}
REGISTERED_CREATE = _bulk(
    "registered_limits", closed(_REGISTERED, required=("service_id", "resource_name", "default_limit"))
)
REGISTERED_UPDATE = wrapped("registered_limit", closed(_REGISTERED))
REGISTERED_LIST = filters("service_id", "region_id", "resource_name")

_LIMIT = closed(
    {**_OF_A_SERVICE, "resource_limit": _NUMBER, "project_id": _OWNER, "domain_id": _OWNER},
    required=("service_id", "resource_name", "resource_limit"),
)
CREATE = _bulk("limits", {**_LIMIT, "oneOf": [{"required": ["project_id"]}, {"required": ["domain_id"]}]})
UPDATE = wrapped("limit", closed({"resource_limit": _NUMBER, "description": DESCRIPTION}))
LIST = filters("service_id", "region_id", "resource_name", "project_id", "domain_id")
