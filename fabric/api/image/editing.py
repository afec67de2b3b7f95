"""From bodies and patches to the fields an image's owner may set, and every refusal on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fabric.api.faults import ApiError
from fabric.api.image.json_patch import Operation
from fabric.api.image.schemas.images import (
    CREATE_ONLY,
    FREE_VALUE,
    PROPERTIES_CHARS_MAX,
    PROPERTIES_MAX,
    READ_ONLY,
    RESERVED,
    TAGS_MAX,
    VALUE_SCHEMAS,
    WRITABLE,
)
from fabric.api.validation import check_body
from fabric.control.images import ImageFields

_FIELD_OF: Mapping[str, str] = {  # the API's name -> ImageFields'; every other writable name is free
    "name": "name",
    "visibility": "visibility",
    "protected": "protected",
    "os_hidden": "os_hidden",
    "container_format": "container_format",
    "disk_format": "disk_format",
    "min_disk": "min_disk_gb",
    "min_ram": "min_ram_mb",
    "tags": "tags",
}
_NAME_CHARS_MAX = 255

assert set(_FIELD_OF) <= set(WRITABLE)


def fields_of_body(body: Mapping[str, Any]) -> ImageFields:
    """A create body, already checked against its schema. Raises ApiError 400, 403, 413."""
    refuse_read_only(body)
    fields = ImageFields()
    properties: dict[str, str] = {}
    for name, value in body.items():
        if name in CREATE_ONLY:
            continue
        if name in _FIELD_OF:
            fields = _with(fields, name, value)
        else:
            _check_property_name(name)
            if value is not None:
                properties[name] = value
    return _bounded(replace(fields, properties=properties))


def refuse_read_only(names: Mapping[str, Any] | Sequence[str]) -> None:
    for name in names:
        if name in READ_ONLY:
            raise ApiError(403, f"Attribute '{name}' is read-only.")
        if name in RESERVED and name not in CREATE_ONLY:
            raise ApiError(403, f"Attribute '{name}' is reserved.")


def apply_patch(fields: ImageFields, operations: Sequence[Operation]) -> ImageFields:
    """`fields` after all `operations`, or none. Raises ApiError 400, 403, 409, 413."""
    for operation in operations:
        if operation.name in READ_ONLY:
            raise ApiError(403, f"Attribute '{operation.name}' is read-only.")
        if operation.name in RESERVED:
            raise ApiError(403, f"Attribute '{operation.name}' is reserved.")
        if operation.name in _FIELD_OF:
            fields = _patch_field(fields, operation)
        else:
            fields = replace(fields, properties=_patch_property(fields.properties, operation))
    return _bounded(fields)


def with_tag(fields: ImageFields, tag: str) -> ImageFields:
    """Adding one twice is fine. Raises ApiError 413."""
    return _bounded(replace(fields, tags=_unique((*fields.tags, tag))))


def without_tag(fields: ImageFields, tag: str) -> ImageFields:
    """Raises ApiError 404."""
    if tag not in fields.tags:
        raise ApiError(404, f"Image has no tag {tag[:255]!r}.")
    return replace(fields, tags=tuple(one for one in fields.tags if one != tag))


def _patch_field(fields: ImageFields, operation: Operation) -> ImageFields:
    if operation.verb == "remove":
        raise ApiError(403, f"Property {operation.name} may not be removed.")
    check_body({operation.name: operation.value}, VALUE_SCHEMAS[operation.name])
    return _with(fields, operation.name, operation.value)


def _patch_property(properties: Mapping[str, str], operation: Operation) -> dict[str, str]:
    changed = dict(properties)
    name = operation.name
    if operation.verb != "add" and name not in changed:
        raise ApiError(409, f"Property {name} does not exist.")
    if operation.verb == "remove":
        del changed[name]
        return changed
    _check_property_name(name)
    check_body({name: operation.value}, VALUE_SCHEMAS.get(name, FREE_VALUE))
    if operation.value is None:
        changed.pop(name, None)
    else:
        changed[name] = operation.value
    return changed


def _with(fields: ImageFields, name: str, value: Any) -> ImageFields:
    field_name = _FIELD_OF[name]
    if name == "tags":
        value = _unique(value)
    return replace(fields, **{field_name: value})


def _unique(tags: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(tags))


def _check_property_name(name: str) -> None:
    if not name or len(name) > _NAME_CHARS_MAX:
        raise ApiError(400, f"A property's name must have 1 to {_NAME_CHARS_MAX} characters: '{name[:64]}'.")


def _bounded(fields: ImageFields) -> ImageFields:
    if len(fields.properties) > PROPERTIES_MAX:
        raise ApiError(
            413,
            f"The limit has been exceeded on the number of allowed image properties: "
            f"{len(fields.properties)}, maximum {PROPERTIES_MAX}.",
        )
    if len(fields.tags) > TAGS_MAX:
        raise ApiError(
            413,
            f"The limit has been exceeded on the number of allowed image tags: "
            f"{len(fields.tags)}, maximum {TAGS_MAX}.",
        )
    total = sum(len(name) + len(value) for name, value in fields.properties.items())
    if total > PROPERTIES_CHARS_MAX:
        raise ApiError(
            413, f"All properties together have {total} characters, maximum {PROPERTIES_CHARS_MAX}."
        )
    return fields
