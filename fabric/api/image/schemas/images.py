"""What an image body may hold. The same table serves create, update and `GET /v2/schemas/image`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fabric.control.image_formats import CONTAINER_FORMATS, DISK_FORMATS
from fabric.control.images import VISIBILITIES

NAME_CHARS_MAX = 255
VALUE_CHARS_MAX = 65_535
PROPERTIES_MAX = 128  # Glance's image_property_quota
TAGS_MAX = 128  # Glance's image_tag_quota
PROPERTIES_CHARS_MAX = 256 * 1024  # all of them together: a record must fit one log entry
INT32_MAX = 2_147_483_647

UUID = {
    "type": "string",
    "pattern": "^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$",
}
_NULL_OR_TEXT = {"type": ["null", "string"]}

WRITABLE: Mapping[str, Mapping[str, Any]] = {
    "name": {
        "type": ["null", "string"],
        "description": "Descriptive name for the image",
        "maxLength": NAME_CHARS_MAX,
    },
    "visibility": {
        "type": "string",
        "description": "Scope of image accessibility",
        "enum": list(VISIBILITIES),
    },
    "protected": {"type": "boolean", "description": "If true, image will not be deletable."},
    "os_hidden": {
        "type": "boolean",
        "description": "If true, image will not appear in default image list response.",
    },
    "container_format": {
        "type": ["null", "string"],
        "description": "Format of the container",
        "enum": [None, *CONTAINER_FORMATS],
    },
    "disk_format": {
        "type": ["null", "string"],
        "description": "Format of the disk",
        "enum": [None, *DISK_FORMATS],
    },
    "min_disk": {
        "type": "integer",
        "description": "Amount of disk space (in GB) required to boot image.",
        "minimum": 0,
        "maximum": INT32_MAX,
    },
    "min_ram": {
        "type": "integer",
        "description": "Amount of ram (in MB) required to boot image.",
        "minimum": 0,
        "maximum": INT32_MAX,
    },
    "tags": {
        "type": "array",
        "description": "List of strings related to the image",
        "items": {"type": "string", "maxLength": NAME_CHARS_MAX, "minLength": 1},
    },
    # Well-known free properties with a form of their own:
    "kernel_id": {
        **UUID,
        "type": ["null", "string"],
        "description": "ID of image stored in Glance that should be used as the kernel when booting.",
    },
    "ramdisk_id": {
        **UUID,
        "type": ["null", "string"],
        "description": "ID of image stored in Glance that should be used as the ramdisk when booting.",
    },
}
CREATE_ONLY: Mapping[str, Mapping[str, Any]] = {
    "id": {**UUID, "description": "An identifier for the image"},
    "owner": {"type": ["null", "string"], "description": "Owner of the image", "maxLength": NAME_CHARS_MAX},
}
READ_ONLY: Mapping[str, Mapping[str, Any]] = {
    "status": {"type": "string", "description": "Status of the image", "enum": ["queued", "active"]},
    "checksum": {**_NULL_OR_TEXT, "description": "md5 hash of image contents.", "maxLength": 32},
    "os_hash_algo": {**_NULL_OR_TEXT, "description": "Algorithm to calculate the os_hash_value"},
    "os_hash_value": {**_NULL_OR_TEXT, "description": "Hexdigest of the image contents"},
    "size": {"type": ["null", "integer"], "description": "Size of image file in bytes"},
    "virtual_size": {"type": ["null", "integer"], "description": "Virtual size of image in bytes"},
    "created_at": {"type": "string", "description": "Date and time of image registration"},
    "updated_at": {"type": "string", "description": "Date and time of the last image modification"},
    "direct_url": {"type": "string", "description": "URL to access the image file kept in external store"},
    "self": {"type": "string", "description": "An image self url"},
    "file": {"type": "string", "description": "An image file url"},
    "schema": {"type": "string", "description": "An image schema url"},
}
RESERVED = frozenset({"owner", "id", "locations", "deleted", "deleted_at", "stores", "is_public"})

FREE_PROPERTY = {"type": ["null", "string"], "maxLength": VALUE_CHARS_MAX}

CREATE: Mapping[str, Any] = {
    "type": "object",
    "properties": {**WRITABLE, **CREATE_ONLY},
    "additionalProperties": FREE_PROPERTY,
}
VALUE_SCHEMAS: Mapping[str, Mapping[str, Any]] = {  # one value of a PATCH, wrapped so that errors name it
    name: {"type": "object", "properties": {name: schema}} for name, schema in WRITABLE.items()
}
FREE_VALUE: Mapping[str, Any] = {"type": "object", "additionalProperties": FREE_PROPERTY}


def public_schema() -> dict[str, Any]:
    """`GET /v2/schemas/image`: what glanceclient builds its model and command line from."""
    properties: dict[str, Any] = {name: dict(schema) for name, schema in {**WRITABLE, **CREATE_ONLY}.items()}
    for name, schema in READ_ONLY.items():
        properties[name] = {**schema, "readOnly": True}
    for name in ("kernel_id", "ramdisk_id"):
        properties[name]["is_base"] = False
    return {
        "name": "image",
        "properties": properties,
        "additionalProperties": {"type": "string"},
        "links": [
            {"rel": "self", "href": "{self}"},
            {"rel": "enclosure", "href": "{file}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
    }


def list_of(name: str, item: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a page: `images` of `image`, `members` of `member`."""
    return {
        "name": name,
        "properties": {
            name: {"type": "array", "items": dict(item)},
            "first": {"type": "string"},
            "next": {"type": "string"},
            "schema": {"type": "string"},
        },
        "links": [
            {"rel": "first", "href": "{first}"},
            {"rel": "next", "href": "{next}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
    }


MEMBER: Mapping[str, Any] = {
    "name": "member",
    "properties": {
        "member_id": {"type": "string", "description": "An identifier for the image member"},
        "image_id": {"type": "string", "description": "An identifier for the image"},
        "created_at": {"type": "string", "description": "Date and time of image member creation"},
        "updated_at": {"type": "string", "description": "Date and time of last modification"},
        "status": {"type": "string", "enum": ["pending", "accepted", "rejected"]},
        "schema": {"readOnly": True, "type": "string"},
    },
}
