"""Shelving: bodies of the actions."""

from __future__ import annotations

from typing import Any

from fabric.api.compute.schemas.parameters import NODE_NAME, ZONE_NAME
from fabric.api.compute.schemas.server_actions import bare
from fabric.api.compute.versions import v
from fabric.api.microversion import Microversion
from fabric.api.validation import Schema

ZONES, HOSTS = v(77), v(91)
SHELVE = bare("shelve")
SHELVE_OFFLOAD = bare("shelveOffload")
_UNSHELVE = bare("unshelve")


def unshelve(version: Microversion) -> dict[str, Any]:
    """Below 2.77 anything goes. Source: Nova's microversion history, 2.77 and 2.91."""
    if version < ZONES:
        return _UNSHELVE
    fields: dict[str, Any] = {"availability_zone": ZONE_NAME}
    where: Schema = {"type": ["object", "null"], "properties": fields, "additionalProperties": False}
    if version < HOSTS:
        where = {**where, "required": ["availability_zone"]}
    else:
        fields |= {"availability_zone": {"anyOf": [ZONE_NAME, {"type": "null"}]}, "host": NODE_NAME}
    return {**_UNSHELVE, "properties": {"unshelve": where}}
