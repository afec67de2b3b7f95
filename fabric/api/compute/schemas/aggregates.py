"""Aggregates: bodies. Nothing about them changed with microversions but what is shown."""

from __future__ import annotations

from typing import Any

from fabric.api.compute.schemas.parameters import (
    NAME,
    NAME_WITH_SPACES,
    NODE_NAME,
    UUID,
    ZONE_NAME,
    wrapped,
)
from fabric.api.validation import Schema

IMAGES_MAX = 256  # in one request
_ZONE: Schema = {"anyOf": [ZONE_NAME, {"type": "null"}]}
_METADATA: Schema = {
    "type": "object",
    "propertyNames": {"pattern": r"^[a-zA-Z0-9\-_:. ]{1,255}\Z"},
    "additionalProperties": {"type": ["string", "null"], "maxLength": 255},
    "maxProperties": 1_000,
}

CREATE = wrapped("aggregate", {"name": NAME, "availability_zone": _ZONE}, required=("name",))
UPDATE = wrapped("aggregate", {"name": NAME_WITH_SPACES, "availability_zone": _ZONE})
UPDATE["properties"]["aggregate"]["minProperties"] = 1


def _action(properties: Schema) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


ACTION: Schema = {
    "type": "object",
    "properties": {
        "add_host": _action({"host": NODE_NAME}),
        "remove_host": _action({"host": NODE_NAME}),
        "set_metadata": _action({"metadata": _METADATA}),
    },
    "additionalProperties": False,
    "minProperties": 1,
    "maxProperties": 1,
}
IMAGES: Schema = _action(
    {"cache": {"type": "array", "minItems": 1, "maxItems": IMAGES_MAX, "items": _action({"id": UUID})}}
)
