"""Bodies of create and update, and the query of lists, at each microversion."""

from __future__ import annotations

from typing import Any

from fabric.api.compute.schemas.parameters import (
    BOOLEAN,
    DESCRIPTION,
    DISK_CONFIG,
    FQDN,
    HOSTNAME,
    METADATA,
    NAME,
    NODE_NAME,
    TAG,
    TAGS_MAX,
    UUID,
    changed,
    integer,
    wrapped,
)
from fabric.api.compute.versions import v
from fabric.api.validation import Schema, multi

USER_DATA_CHARS_MAX = 65_535  # encoded; Nova's column
PINNED = "pinned_availability_zone"
LIST_ITEMS_MAX = 256  # of networks, groups, disks in one request
_IP: Schema = {"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]}
_ACCESS_IP = {  # the field is known; control says what is done about it
    "accessIPv4": {"type": "string", "maxLength": 255},
    "accessIPv6": {"type": "string", "maxLength": 255},
}


def _networks(uuid: Schema, *, tag: bool, words: bool) -> dict[str, Any]:
    properties = {"fixed_ip": _IP, "port": {"anyOf": [UUID, {"type": "null"}]}, "uuid": uuid}
    if tag:
        properties["tag"] = TAG
    listed = {
        "type": "array",
        "maxItems": LIST_ITEMS_MAX,
        "items": {"type": "object", "properties": properties, "additionalProperties": False},
    }
    if not words:
        return listed
    return {"oneOf": [listed, {"type": "string", "enum": ["none", "auto"]}]}


_DISK_2_1: Schema = {
    "virtual_name": {"type": "string", "maxLength": 255},
    "volume_id": UUID,
    "snapshot_id": UUID,
    "volume_size": {"type": ["integer", "string", "null"]},
    "device_name": {"type": "string", "minLength": 1, "maxLength": 255},
    "delete_on_termination": BOOLEAN,
    "no_device": {},
    "connection_info": {"type": "string", "maxLength": 65_535},
    "source_type": {"type": "string", "enum": ["volume", "image", "snapshot", "blank"]},
    "uuid": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[a-zA-Z0-9._-]*\Z"},
    "image_id": UUID,
    "destination_type": {"type": "string", "enum": ["local", "volume"]},
    "guest_format": {"type": ["string", "null"], "maxLength": 255},
    "device_type": {"type": ["string", "null"], "maxLength": 255},
    "disk_bus": {"type": ["string", "null"], "maxLength": 255},
    "boot_index": {"type": ["integer", "string", "null"], "pattern": r"^-?[0-9]{1,9}\Z"},
}


def _disks(extra: Schema | None = None) -> dict[str, Any]:
    properties = dict(_DISK_2_1) | dict(extra or {})
    return {
        "type": "array",
        "maxItems": LIST_ITEMS_MAX,
        "items": {"type": "object", "properties": properties, "additionalProperties": False},
    }


_SERVER_IDS: Schema = {"anyOf": [UUID, {"type": "array", "items": UUID, "maxItems": LIST_ITEMS_MAX}]}
HINTS: Schema = {  # others are accepted, for whatever filter knows them, as in Nova
    "type": "object",
    "properties": {
        "group": {"anyOf": [UUID, {"type": "array", "items": UUID, "minItems": 1, "maxItems": 1}]},
        "same_host": _SERVER_IDS,
        "different_host": _SERVER_IDS,
        "query": {"type": ["string", "object"]},
        "target_cell": NAME,
        "different_cell": {"type": ["string", "array"], "items": {"type": "string"}},
        "build_near_host_ip": _IP,
        "cidr": {"type": "string", "pattern": r"^/[0-9a-f.:]+\Z"},
    },
    "additionalProperties": True,
    "maxProperties": 64,
}
_NAMED: Schema = {"type": "object", "properties": {"name": NAME}, "additionalProperties": False}
_TEXT_UUID: Schema = {"type": "string", "maxLength": 255}

_CREATE = wrapped(
    "server",
    {
        "name": NAME,
        "imageRef": {"anyOf": [UUID, {"type": "string", "maxLength": 0}]},
        "flavorRef": {"type": ["string", "integer"], "minLength": 1, "maxLength": 512},
        "adminPass": {"type": "string", "maxLength": 255},
        "metadata": METADATA,
        "networks": _networks(_TEXT_UUID, tag=False, words=False),
        "OS-DCF:diskConfig": DISK_CONFIG,
        **_ACCESS_IP,
        "personality": {"type": "array", "maxItems": LIST_ITEMS_MAX},
        "availability_zone": NAME,
        "block_device_mapping": {"type": "array", "maxItems": LIST_ITEMS_MAX},
        "block_device_mapping_v2": _disks(),
        "config_drive": BOOLEAN,
        "key_name": NAME,
        "min_count": integer(1),
        "max_count": integer(1),
        "return_reservation_id": BOOLEAN,
        "security_groups": {"type": "array", "maxItems": LIST_ITEMS_MAX, "items": _NAMED},
        "user_data": {"type": "string", "format": "base64", "maxLength": USER_DATA_CHARS_MAX},
    },
    required=("name", "flavorRef"),
)
_CREATE["properties"] |= {"os:scheduler_hints": HINTS, "OS-SCH-HNT:scheduler_hints": HINTS}

_CREATE_19 = changed(_CREATE, "server", add={"description": DESCRIPTION})
_CREATE_32 = changed(
    _CREATE_19,
    "server",
    add={
        "networks": _networks(_TEXT_UUID, tag=True, words=False),
        "block_device_mapping_v2": _disks({"tag": TAG}),
    },
)
_CREATE_33 = changed(  # disks lost their tag again by a bug that 2.42 repaired
    _CREATE_32, "server", add={"block_device_mapping_v2": _disks()}
)
_CREATE_37 = changed(
    _CREATE_33,
    "server",
    add={"networks": _networks(UUID, tag=False, words=True)},
    require=("networks",),
)
_CREATE_42 = changed(
    _CREATE_37,
    "server",
    add={
        "networks": _networks(UUID, tag=True, words=True),
        "block_device_mapping_v2": _disks({"tag": TAG}),
    },
)
_CREATE_52 = changed(
    _CREATE_42,
    "server",
    add={"tags": {"type": "array", "items": TAG, "maxItems": TAGS_MAX, "uniqueItems": True}},
)
_CREATE_57 = changed(_CREATE_52, "server", drop=("personality",))
_CREATE_63 = changed(
    _CREATE_57,
    "server",
    add={
        "trusted_image_certificates": {
            "type": ["array", "null"],
            "minItems": 1,
            "maxItems": 50,
            "items": {"type": "string", "minLength": 1, "maxLength": 255},
        }
    },
)
_CREATE_67 = changed(
    _CREATE_63,
    "server",
    add={"block_device_mapping_v2": _disks({"tag": TAG, "volume_type": {"type": ["string", "null"]}})},
)
_CREATE_74 = changed(_CREATE_67, "server", add={"host": NODE_NAME, "hypervisor_hostname": NODE_NAME})
_CREATE_90 = changed(_CREATE_74, "server", add={"hostname": HOSTNAME})
_CREATE_94 = changed(_CREATE_90, "server", add={"hostname": FQDN})

CREATE = (
    (v(1), _CREATE),
    (v(19), _CREATE_19),
    (v(32), _CREATE_32),
    (v(33), _CREATE_33),
    (v(37), _CREATE_37),
    (v(42), _CREATE_42),
    (v(52), _CREATE_52),
    (v(57), _CREATE_57),
    (v(63), _CREATE_63),
    (v(67), _CREATE_67),
    (v(74), _CREATE_74),
    (v(90), _CREATE_90),
    (v(94), _CREATE_94),
)

_ZONE: Schema = {"type": "string", "minLength": 1, "maxLength": 255}
_UPDATE = wrapped("server", {"name": NAME, "OS-DCF:diskConfig": DISK_CONFIG, **_ACCESS_IP})
_UPDATE_19 = changed(_UPDATE, "server", add={"description": DESCRIPTION})
_UPDATE_90 = changed(_UPDATE_19, "server", add={"hostname": HOSTNAME})
_UPDATE_94 = changed(_UPDATE_90, "server", add={"hostname": FQDN})

_UPDATE_104 = changed(_UPDATE_94, "server", add={PINNED: {"anyOf": [_ZONE, {"type": "null"}]}})

UPDATE = (
    (v(1), _UPDATE),
    (v(19), _UPDATE_19),
    (v(90), _UPDATE_90),
    (v(94), _UPDATE_94),
    (v(104), _UPDATE_104),
)

_PARAMETER = multi({"type": "string", "maxLength": 1_024})
_KNOWN = (
    "user_id project_id tenant_id launch_index image_ref image kernel_id ramdisk_id hostname key_name "
    "instance_type_id flavor reservation_id vm_state task_state power_state launched_at terminated_at "
    "created_at updated_at host node availability_zone uuid display_name name display_description "
    "description access_ip_v4 access_ip_v6 root_device_name config_drive progress auto_disk_config "
    "locked_by cleaned deleted soft_deleted status ip ip6 changes-since all_tenants minDisk minRam "
    "limit marker sort_key sort_dir"
).split()
_BY_TAG = ["tags", "tags-any", "not-tags", "not-tags-any"]


def _list_query(names: list[str], *, strict: bool) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict.fromkeys(names, _PARAMETER),
        "additionalProperties": False if strict else _PARAMETER,
    }


LIST_QUERY = (
    (v(1), _list_query(_KNOWN, strict=False)),
    (v(26), _list_query(_KNOWN + _BY_TAG, strict=False)),
    (v(66), _list_query([*_KNOWN, *_BY_TAG, "changes-before"], strict=False)),
    (v(75), _list_query([*_KNOWN, *_BY_TAG, "changes-before", "locked"], strict=True)),
)

METADATA_BODY: Schema = {
    "type": "object",
    "properties": {"metadata": METADATA},
    "required": ["metadata"],
    "additionalProperties": False,
}
META_BODY: Schema = {
    "type": "object",
    "properties": {"meta": dict(METADATA) | {"minProperties": 1, "maxProperties": 1}},
    "required": ["meta"],
    "additionalProperties": False,
}
TAGS_BODY: Schema = {
    "type": "object",
    "properties": {"tags": {"type": "array", "items": TAG, "maxItems": TAGS_MAX}},
    "required": ["tags"],
    "additionalProperties": False,
}
