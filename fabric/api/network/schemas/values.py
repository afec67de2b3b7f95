"""Forms that several network bodies share."""

from __future__ import annotations

from typing import Any

NAME = {"type": "string", "maxLength": 255}
DESCRIPTION = {"type": "string", "maxLength": 255}
PROJECT = {"type": "string", "maxLength": 64}
ID = {"type": "string", "maxLength": 64}
BOOLEAN = {"type": "boolean"}
IPV4_TEXT = {"type": "string", "maxLength": 64}  # judged by control, whose message says more
OWNER: dict[str, Any] = {"project_id": PROJECT, "tenant_id": PROJECT}


def whole_number(low: int, high: int) -> dict[str, Any]:
    """An integer or, from some clients, its digits. Text is bounded by length and form only."""
    return {
        "anyOf": [
            {"type": "integer", "minimum": low, "maximum": high},
            {"type": "string", "pattern": "^[0-9]{1,9}$"},
        ]
    }


def closed(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    """An object with these attributes and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def wrapped(name: str, item: dict[str, Any]) -> dict[str, Any]:
    """An update body: `{name: item}`."""
    return closed({name: item}, name)
