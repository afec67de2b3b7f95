"""Bodies and queries about placement."""

from __future__ import annotations

from fabric.api.compute.schemas.parameters import UUID
from fabric.api.compute.schemas.servers import HINTS
from fabric.api.validation import Schema, single
from fabric.control.explanations import COUNT_MAX
from fabric.control.room import By

INT_MAX = 0x7FFFFFFF
_NAME: Schema = {"type": "string", "minLength": 1, "maxLength": 255}
_AMOUNT: Schema = {"type": "integer", "minimum": 0, "maximum": INT_MAX}

EXPLAIN: Schema = {
    "type": "object",
    "properties": {
        "flavor": {  # an id or a name; or a size that no flavor has
            "type": ["string", "object"],
            "minLength": 1,
            "maxLength": 255,
            "properties": {
                "vcpus": {"type": "integer", "minimum": 1, "maximum": INT_MAX},
                "ram": {"type": "integer", "minimum": 1, "maximum": INT_MAX},  # MB, as Nova's
                "disk": _AMOUNT,  # GB
                "ephemeral": _AMOUNT,  # GB
                "swap": _AMOUNT,  # MB
                "extra_specs": {
                    "type": "object",
                    "propertyNames": {"pattern": r"^[a-zA-Z0-9\-_:. ]{1,255}\Z"},
                    "additionalProperties": {"type": "string", "maxLength": 255},
                    "maxProperties": 128,
                },
            },
            "required": ["vcpus", "ram"],
            "additionalProperties": False,
        },
        "image": _NAME,
        "availability_zone": _NAME,
        "host": _NAME,
        "scheduler_hints": HINTS,  # what a create refuses is refused here, too
        "group": UUID,  # a server group's id: the same as the hint of that name
        "project_id": _NAME,
        "count": {"type": "integer", "minimum": 1, "maximum": COUNT_MAX},
    },
    "required": ["flavor"],
    "additionalProperties": False,
}

CAPACITY_QUERY: Schema = {
    "type": "object",
    "properties": {
        "by": single({"type": "string", "enum": [by.value for by in By]}),
        "flavor": single(_NAME),
    },
    "additionalProperties": False,
}
