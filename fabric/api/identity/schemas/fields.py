"""Fields several Identity objects share."""

from __future__ import annotations

from typing import Any

from fabric.api.validation import multi, single

ID: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": 64}
DESCRIPTION: dict[str, Any] = {"type": ["string", "null"], "maxLength": 4096}
BOOLEAN: dict[str, Any] = {"type": "boolean"}
NO_TAGS: dict[str, Any] = {"type": "array", "maxItems": 0}
NO_OPTIONS: dict[str, Any] = {"type": "object", "maxProperties": 0}


def name(length_max: int) -> dict[str, Any]:
    """Something must be in it besides white space."""
    return {"type": "string", "minLength": 1, "maxLength": length_max, "pattern": r"\S"}


def wrapped(key: str, inner: dict[str, Any]) -> dict[str, Any]:
    """`{"user": {...}}` and nothing beside it."""
    return {"type": "object", "properties": {key: inner}, "required": [key], "additionalProperties": False}


def closed(properties: dict[str, Any], *, required: tuple[str, ...] = ()) -> dict[str, Any]:
    """An object without unknown fields."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def filters(*names: str) -> dict[str, Any]:
    """Query parameters given once each; others are ignored, as Keystone does."""
    text = {"type": "string", "maxLength": 255}
    return {"type": "object", "properties": {each: single(text) for each in names}}


def flags(*names: str) -> dict[str, Any]:
    return {"type": "object", "properties": {each: multi({"type": "string"}) for each in names}}
