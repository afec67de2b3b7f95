"""Flavors: bodies and queries at each microversion."""

from __future__ import annotations

from typing import Any

from fabric.api.compute.schemas.parameters import (
    BOOLEAN,
    DESCRIPTION,
    INT_MAX,
    NAME,
    PROJECT_ID,
    changed,
    integer,
    wrapped,
)
from fabric.api.compute.versions import v
from fabric.api.validation import Schema, multi

DESCRIPTION_CHARS_MAX = 65_535
RXTX_MAX = 1_000_000
_DESCRIPTION: Schema = dict(DESCRIPTION) | {"maxLength": DESCRIPTION_CHARS_MAX}

_CREATE = wrapped(
    "flavor",
    {
        "name": NAME,
        "id": {
            "anyOf": [
                {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 255,
                    "pattern": r"^(?! )[a-zA-Z0-9. _-]+(?<! )\Z",
                },
                {"type": "integer", "minimum": 0, "maximum": INT_MAX},
                {"type": "null"},
            ]
        },
        "ram": integer(1),
        "vcpus": integer(1),
        "disk": integer(0),
        "OS-FLV-EXT-DATA:ephemeral": integer(0),
        "swap": integer(0),
        "rxtx_factor": {
            "type": ["number", "string"],
            "pattern": r"^[0-9]{1,7}(\.[0-9]{1,9})?\Z",
            "exclusiveMinimum": 0,
            "maximum": RXTX_MAX,
        },
        "os-flavor-access:is_public": BOOLEAN,
    },
    required=("name", "ram", "vcpus", "disk"),
)
_CREATE_55 = changed(_CREATE, "flavor", add={"description": _DESCRIPTION})
_CREATE_102 = changed(_CREATE_55, "flavor", drop=("rxtx_factor",))
CREATE = ((v(1), _CREATE), (v(55), _CREATE_55), (v(102), _CREATE_102))
UPDATE = wrapped("flavor", {"description": _DESCRIPTION}, required=("description",))

_PARAMETER = multi({"type": "string", "maxLength": 255})
_NAMES = ("limit", "marker", "is_public", "minRam", "minDisk", "sort_key", "sort_dir")


def _list_query(*more: str, strict: bool) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict.fromkeys((*_NAMES, *more), _PARAMETER),
        "additionalProperties": False if strict else _PARAMETER,
    }


LIST_QUERY = (
    (v(1), _list_query(strict=False)),
    (v(75), _list_query(strict=True)),
    (v(102), _list_query("name", strict=True)),
)

SPEC_VALUE: Schema = {
    "type": ["string", "number", "boolean"],
    "maxLength": 255,
}
SPEC_NAME: Schema = {"pattern": r"^[a-zA-Z0-9\-_:. ]{1,255}\Z"}
_SPECS: Schema = {
    "type": "object",
    "propertyNames": SPEC_NAME,
    "additionalProperties": SPEC_VALUE,
    "maxProperties": 256,
}
SPECS: Schema = {
    "type": "object",
    "properties": {"extra_specs": _SPECS},
    "required": ["extra_specs"],
    "additionalProperties": False,
}
ONE_SPEC: Schema = dict(_SPECS) | {"minProperties": 1, "maxProperties": 1}

ACTION: Schema = {"type": "object", "minProperties": 1, "maxProperties": 16}
ADD_ACCESS = wrapped("addTenantAccess", {"tenant": PROJECT_ID}, required=("tenant",))
REMOVE_ACCESS = wrapped("removeTenantAccess", {"tenant": PROJECT_ID}, required=("tenant",))
