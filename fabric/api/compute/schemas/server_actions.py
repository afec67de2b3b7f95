"""Bodies of `POST /servers/{id}/action`, by action name."""

from __future__ import annotations

from typing import Any

from fabric.api.compute.schemas.parameters import integer, wrapped
from fabric.api.validation import Schema

ACTION: Schema = {"type": "object", "maxProperties": 16}  # any; the action's own schema follows


def bare(name: str) -> dict[str, Any]:
    """`{name: null}`; clients also send {} or "" there, and Nova takes anything."""
    return {"type": "object", "properties": {name: {}}, "required": [name], "additionalProperties": False}


START = bare("os-start")
STOP = bare("os-stop")
FORCE_DELETE = bare("forceDelete")
LOCK = bare("lock")
UNLOCK = bare("unlock")
LOCK_73: Schema = {
    "type": "object",
    "properties": {
        "lock": {
            "type": ["object", "null"],
            "properties": {"locked_reason": {"type": "string", "minLength": 1, "maxLength": 255}},
            "additionalProperties": False,
        }
    },
    "required": ["lock"],
    "additionalProperties": False,
}
REBOOT = wrapped(
    "reboot",
    {"type": {"type": "string", "enum": ["HARD", "Hard", "hard", "SOFT", "Soft", "soft"]}},
    required=("type",),
)
CONSOLE_OUTPUT: Schema = {
    "type": "object",
    "properties": {
        "os-getConsoleOutput": {
            "type": "object",
            "properties": {"length": {"anyOf": [integer(-1), {"type": "null"}]}},
            "additionalProperties": False,
        }
    },
    "required": ["os-getConsoleOutput"],
    "additionalProperties": False,
}
