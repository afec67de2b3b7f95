"""Moves: bodies of the actions, and the query of /os-migrations."""

from __future__ import annotations

from typing import Any

from fabric.api.compute.schemas.admin import query
from fabric.api.compute.schemas.parameters import BOOLEAN, NODE_NAME, wrapped
from fabric.api.compute.schemas.server_actions import bare
from fabric.api.compute.versions import v
from fabric.api.microversion import Microversion
from fabric.api.validation import Schema

MIGRATE = bare("migrate")
CONFIRM = bare("confirmResize")
REVERT = bare("revertResize")
_HOST: Schema = {"anyOf": [NODE_NAME, {"type": "null"}]}
MIGRATE_56: Schema = {
    "type": "object",
    "properties": {
        "migrate": {
            "anyOf": [
                {"type": "null"},
                {"type": "object", "properties": {"host": _HOST}, "additionalProperties": False},
            ]
        }
    },
    "required": ["migrate"],
    "additionalProperties": False,
}
_PASSWORD: Schema = {"type": "string", "maxLength": 255}


def evacuate(version: Microversion) -> dict[str, Any]:
    """Source: Nova's microversion history, 2.14, 2.29, 2.68."""
    fields: dict[str, Any] = {"host": NODE_NAME, "adminPass": _PASSWORD}
    if version < v(14):
        return wrapped("evacuate", {**fields, "onSharedStorage": BOOLEAN}, required=("onSharedStorage",))
    if v(29) <= version < v(68):
        fields["force"] = BOOLEAN
    return wrapped("evacuate", fields)


def migrate_live(version: Microversion) -> dict[str, Any]:
    """Source: Nova's microversion history, 2.25, 2.30, 2.68."""
    host: Schema = {"type": ["string", "null"], "minLength": 1, "maxLength": 255}
    fields: dict[str, Any] = {"host": host, "block_migration": BOOLEAN}
    if version < v(25):
        fields["disk_over_commit"] = BOOLEAN
        return wrapped("os-migrateLive", fields, required=tuple(fields))
    required = tuple(fields)
    fields["block_migration"] = {"enum": [*BOOLEAN["enum"], "auto"]}
    if v(30) <= version < v(68):
        fields["force"] = BOOLEAN
    return wrapped("os-migrateLive", fields, required=required)


FORCE_COMPLETE: Schema = {
    "type": "object",
    "properties": {"force_complete": {"type": "null"}},
    "required": ["force_complete"],
    "additionalProperties": False,
}
_FILTERS = ("host", "hidden", "status", "source_compute", "instance_uuid", "migration_type")
_PAGED = (*_FILTERS, "limit", "marker", "changes-since")
QUERY = (
    (v(1), query(*_FILTERS)),
    (v(59), query(*_PAGED, strict=True)),
    (v(66), query(*_PAGED, "changes-before", strict=True)),
    (v(80), query(*_PAGED, "changes-before", "user_id", "project_id", strict=True)),
)
