"""Building blocks of schemas. Bounds are Nova's where it has one. Source: Nova's API reference."""

from __future__ import annotations

import copy
from typing import Any

from fabric.api.validation import Schema

INT_MAX = 0x7FFFFFFF
_UNPRINTABLE = r"\u0000-\u001f\u007f-\u009f"

NAME: Schema = {  # no spaces at the ends, nothing unprintable
    "type": "string",
    "minLength": 1,
    "maxLength": 255,
    "pattern": rf"^(?! )[^{_UNPRINTABLE}]+(?<! )\Z",
}
ZONE_NAME: Schema = {  # a colon would be taken for what separates a zone from a host
    "type": "string",
    "minLength": 1,
    "maxLength": 255,
    "pattern": rf"^(?! )[^:{_UNPRINTABLE}]+(?<! )\Z",
}
NAME_WITH_SPACES: Schema = dict(NAME) | {
    "pattern": rf"^[^{_UNPRINTABLE}]*[^ {_UNPRINTABLE}][^{_UNPRINTABLE}]*\Z"
}
DESCRIPTION: Schema = {
    "type": ["string", "null"],
    "maxLength": 255,
    "pattern": r"^[^\u0000-\u0008\u000b-\u001f\u007f-\u009f]*\Z",
}
BOOLEAN: Schema = {
    "enum": [
        *(True, "True", "TRUE", "true", "1", "ON", "On", "on", "YES", "Yes", "yes", "y", "t"),
        *(False, "False", "FALSE", "false", "0", "OFF", "Off", "off", "NO", "No", "no", "n", "f"),
    ]
}
_TRUE = frozenset({"true", "1", "on", "yes", "y", "t"})
UUID: Schema = {"type": "string", "format": "uuid"}
TAG: Schema = {"type": "string", "minLength": 1, "maxLength": 60, "pattern": r"^[^,/]*\Z"}
TAGS_MAX = 50
METADATA: Schema = {
    "type": "object",
    "propertyNames": {"pattern": r"^[a-zA-Z0-9\-_:. ]{1,255}\Z"},
    "additionalProperties": {"type": "string", "maxLength": 255},
    "maxProperties": 10_000,
}
HOSTNAME: Schema = {
    "type": "string",
    "minLength": 2,
    "maxLength": 63,
    "pattern": r"^[a-zA-Z0-9]+[a-zA-Z0-9\-]*[a-zA-Z0-9]+\Z",
}
FQDN: Schema = {
    "type": "string",
    "minLength": 2,
    "maxLength": 255,
    "pattern": r"^[a-zA-Z0-9]+[a-zA-Z0-9.\-]*[a-zA-Z0-9]+\Z",
}
NODE_NAME: Schema = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[a-zA-Z0-9-._]*\Z"}
DISK_CONFIG: Schema = {"type": "string", "enum": ["AUTO", "MANUAL"]}
PROJECT_ID: Schema = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[a-zA-Z0-9-]*\Z"}


NO_QUERY: Schema = {"type": "object", "additionalProperties": False}


def integer(low: int, high: int = INT_MAX) -> Schema:
    """A number, or the same as text: Nova takes both everywhere."""
    return {
        "type": ["integer", "string"],
        "pattern": r"^-?[0-9]{1,18}\Z",
        "minimum": low,
        "maximum": high,
    }


def as_integer(value: int | str, low: int, high: int = INT_MAX) -> int | None:
    """What `integer` let through, None when it is text out of range: a schema cannot see that."""
    number = int(value)
    return number if low <= number <= high else None


def as_boolean(value: object) -> bool:
    """What BOOLEAN let through."""
    return value if isinstance(value, bool) else str(value).lower() in _TRUE


def wrapped(key: str, properties: Schema, *, required: tuple[str, ...] = ()) -> dict[str, Any]:
    """`{key: {...}}`, nothing beside it and nothing unknown in it."""
    inner: dict[str, Any] = {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {key: inner},
        "required": [key],
        "additionalProperties": False,
    }


def changed(
    schema: Schema,
    key: str,
    *,
    add: Schema | None = None,
    drop: tuple[str, ...] = (),
    require: tuple[str, ...] = (),
) -> dict[str, Any]:
    """The next version of a `wrapped` schema: with properties added, dropped, made mandatory."""
    result = copy.deepcopy(dict(schema))
    inner = result["properties"][key]
    for name in drop:
        del inner["properties"][name]
    inner["properties"].update(add or {})
    inner["required"] = [*inner["required"], *require]
    return result
