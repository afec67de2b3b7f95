"""Bodies of Placement requests, by microversion. Source: Placement's API reference."""

from __future__ import annotations

from typing import Any

from fabric.api.placement.versions import v
from fabric.api.validation import Schema
from fabric.core.placement.resources import AMOUNT_MAX
from fabric.core.providers.names import CUSTOM_PATTERN, NAME_CHARS_MAX

CONSUMERS_MAX = 256  # of one request
PROVIDERS_MAX = 256

UUID: Schema = {"type": "string", "pattern": "^[0-9A-Fa-f]{8}-?([0-9A-Fa-f]{4}-?){3}[0-9A-Fa-f]{12}$"}
NAME: Schema = {"type": "string", "minLength": 1, "maxLength": 200}
GENERATION: Schema = {"type": "integer", "minimum": 0, "maximum": AMOUNT_MAX}
CLASS_PATTERN, TRAIT_PATTERN = "^[A-Z0-9_]{1,255}$", "^[A-Z0-9_]{1,255}$"
OWNER: Schema = {"type": "string", "minLength": 1, "maxLength": 255}
CONSUMER_TYPE: Schema = {"type": "string", "pattern": "^[A-Z0-9_]{1,255}$"}


def _object(properties: dict[str, Any], required: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
        **more,
    }


def _mapping(pattern: str, value: Schema, **more: Any) -> dict[str, Any]:
    return {"type": "object", "patternProperties": {pattern: value}, "additionalProperties": False, **more}


# ---- providers

_PROVIDER = {"name": NAME, "uuid": UUID}
_WITH_PARENT = {**_PROVIDER, "parent_provider_uuid": {"anyOf": [UUID, {"type": "null"}]}}
CREATE_PROVIDER = ((v(0), _object(_PROVIDER, ("name",))), (v(14), _object(_WITH_PARENT, ("name",))))
_UPDATE = {"name": NAME}
UPDATE_PROVIDER = (
    (v(0), _object(_UPDATE, ("name",))),
    (v(14), _object({**_UPDATE, "parent_provider_uuid": _WITH_PARENT["parent_provider_uuid"]}, ("name",))),
)

_AMOUNT = {"type": "integer", "minimum": 1, "maximum": AMOUNT_MAX}
_INVENTORY = {
    "total": _AMOUNT,
    "reserved": {"type": "integer", "minimum": 0, "maximum": AMOUNT_MAX},
    "min_unit": _AMOUNT,
    "max_unit": _AMOUNT,
    "step_size": _AMOUNT,
    "allocation_ratio": {"type": "number", "minimum": 0.001, "maximum": 1_000_000},
}
_STOCK = _mapping(CLASS_PATTERN, _object(_INVENTORY, ("total",)))
_CHECKED = {"resource_provider_generation": GENERATION}
PUT_INVENTORIES = _object(
    {**_CHECKED, "inventories": _STOCK}, ("resource_provider_generation", "inventories")
)
POST_INVENTORY = _object(
    {**_CHECKED, **_INVENTORY, "resource_class": {"type": "string", "pattern": CLASS_PATTERN}},
    ("resource_class", "total"),
)
PUT_INVENTORY = _object({**_CHECKED, **_INVENTORY}, ("resource_provider_generation", "total"))

_AGGREGATES = {"type": "array", "items": UUID, "uniqueItems": True, "maxItems": 1_000}
PUT_AGGREGATES = (
    (v(1), _AGGREGATES),
    (
        v(19),
        _object({**_CHECKED, "aggregates": _AGGREGATES}, ("resource_provider_generation", "aggregates")),
    ),
)
_TRAITS = {
    "type": "array",
    "items": {"type": "string", "pattern": TRAIT_PATTERN},
    "uniqueItems": True,
    "maxItems": 1_000,
}
PUT_TRAITS = _object({**_CHECKED, "traits": _TRAITS}, ("resource_provider_generation", "traits"))

# ---- names

_CUSTOM = {"type": "string", "pattern": CUSTOM_PATTERN, "maxLength": NAME_CHARS_MAX}
CLASS = _object({"name": _CUSTOM}, ("name",))

# ---- allocations

_RESOURCES = _mapping(CLASS_PATTERN, _AMOUNT, minProperties=1)
_OLD_ALLOCATION = _object(
    {"resource_provider": _object({"uuid": UUID}, ("uuid",)), "resources": _RESOURCES},
    ("resource_provider", "resources"),
)
_OLD = {"allocations": {"type": "array", "minItems": 1, "maxItems": PROVIDERS_MAX, "items": _OLD_ALLOCATION}}
_OWNED = {"project_id": OWNER, "user_id": OWNER}
_ONE = _object({"resources": _RESOURCES, "generation": GENERATION}, ("resources",))
_SOME = _mapping(str(UUID["pattern"]), _ONE, minProperties=1, maxProperties=PROVIDERS_MAX)
_ANY = _mapping(str(UUID["pattern"]), _ONE, maxProperties=PROVIDERS_MAX)
_MAPPINGS = {
    "type": "object",
    "minProperties": 1,
    "patternProperties": {"^[A-Za-z0-9_-]{0,64}$": {"type": "array", "minItems": 1, "items": UUID}},
    "additionalProperties": False,
}
_CONSUMER_GENERATION = {"anyOf": [GENERATION, {"type": "null"}]}


def _holding(allocations: Schema, minor: int) -> dict[str, Any]:
    properties = {"allocations": allocations, **_OWNED}
    required = ["allocations", "project_id", "user_id"]
    if minor >= 28:
        properties["consumer_generation"] = _CONSUMER_GENERATION
        required.append("consumer_generation")
    if minor >= 34:
        properties["mappings"] = _MAPPINGS
    if minor >= 38:
        properties["consumer_type"] = CONSUMER_TYPE
        required.append("consumer_type")
    return _object(properties, tuple(required))


PUT_ALLOCATIONS = (
    (v(0), _object(_OLD, ("allocations",))),
    (v(8), _object({**_OLD, **_OWNED}, ("allocations", "project_id", "user_id"))),
    (v(12), _holding(_SOME, 12)),
    (v(28), _holding(_ANY, 28)),
    (v(34), _holding(_ANY, 34)),
    (v(38), _holding(_ANY, 38)),
)


def _many(minor: int, **more: Any) -> dict[str, Any]:
    return _mapping(str(UUID["pattern"]), _holding(_ANY, minor), maxProperties=CONSUMERS_MAX, **more)


POST_ALLOCATIONS = tuple((v(minor), _many(minor, minProperties=1)) for minor in (13, 28, 34, 38))

_RESHAPED = _mapping(
    str(UUID["pattern"]),
    _object({**_CHECKED, "inventories": _STOCK}, ("resource_provider_generation", "inventories")),
    minProperties=1,
    maxProperties=PROVIDERS_MAX,
)
RESHAPE = tuple(
    (since, _object({"inventories": _RESHAPED, "allocations": _many(minor)}, ("inventories", "allocations")))
    for since, minor in ((v(30), 28), (v(34), 34), (v(38), 38))
)
