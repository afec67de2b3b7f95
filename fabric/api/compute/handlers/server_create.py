"""POST /servers: the checked body becomes a NewServer; what is not built yet is refused, never forgotten."""

from __future__ import annotations

import base64
from typing import Any

from aiohttp import web

from fabric.api.compute.handlers.rendering import rendering
from fabric.api.compute.handlers.servers import refuse_access_addresses
from fabric.api.compute.schemas.parameters import as_boolean, as_integer
from fabric.api.compute.views import servers as view
from fabric.api.faults import ApiError
from fabric.api.request import body, caller, cloud
from fabric.api.responses import json_response
from fabric.control.security_groups import DEFAULT_GROUP_NAME
from fabric.control.server_create import create_servers
from fabric.control.server_networks import NetworkChoice, NetworkWish, NicWish
from fabric.control.server_wish import NewServer
from proto.ids import is_uuid

_LOCAL_IMAGE_DISK = frozenset(
    {"uuid", "image_id", "source_type", "destination_type", "boot_index", "delete_on_termination"}
)


async def create(request: web.Request) -> web.Response:
    document = body(request)
    wanted = document["server"]
    _refuse_unbuilt(wanted)
    new = _new_server(wanted, _hints(document))
    made = await create_servers(cloud(request), caller(request), new)
    if as_boolean(wanted.get("return_reservation_id", False)):
        return json_response({"reservation_id": made.reservation_id}, status=202)
    how = await rendering(request)
    first = made.server_ids[0]
    groups = tuple(dict.fromkeys(new.networks.security_groups)) or (DEFAULT_GROUP_NAME,)
    return json_response(
        {"server": view.created(first, made.admin_pass, groups, how)},
        status=202,
        headers={"Location": how.links.self_href("servers", first)},
    )


def _new_server(wanted: dict[str, Any], hints: dict[str, Any]) -> NewServer:
    least = _count(wanted, "min_count", 1)
    return NewServer(
        name=wanted["name"],
        image_ref=_image_ref(wanted),
        flavor_ref=str(wanted["flavorRef"]).rstrip("/").rpartition("/")[2],
        networks=_networks(wanted),
        key_name=wanted.get("key_name"),
        metadata=wanted.get("metadata", {}),
        user_data=_user_data(wanted.get("user_data")),
        config_drive=as_boolean(wanted.get("config_drive", False)),
        zone=wanted.get("availability_zone"),
        host=wanted.get("host"),
        hypervisor_hostname=wanted.get("hypervisor_hostname"),
        admin_pass=wanted.get("adminPass"),
        description=wanted.get("description"),
        tags=tuple(wanted.get("tags", ())),
        hostname=wanted.get("hostname"),
        hints=hints,
        min_count=least,
        max_count=_count(wanted, "max_count", least),
    )


def _hints(document: dict[str, Any]) -> dict[str, Any]:
    """They stand beside the server, under either name; of both the first counts (Nova)."""
    for name in ("os:scheduler_hints", "OS-SCH-HNT:scheduler_hints"):
        if name in document:
            hints: dict[str, Any] = document[name]
            return hints
    return {}


def _count(wanted: dict[str, Any], name: str, fallback: int) -> int:
    if name not in wanted:
        return fallback
    count = as_integer(wanted[name], 1)
    if count is None:
        raise ApiError(400, f"Invalid input for field/attribute {name}: it must be a positive integer.")
    return count


def _user_data(text: str | None) -> bytes | None:
    """The schema checked that it is base64."""
    return base64.b64decode("".join(text.split())) if text else None


def _networks(wanted: dict[str, Any]) -> NetworkWish:
    groups = tuple(group["name"] for group in wanted.get("security_groups", ()) if "name" in group)
    match wanted.get("networks"):
        case None:
            return NetworkWish(security_groups=groups)
        case "auto":
            return NetworkWish(choice=NetworkChoice.AUTO, security_groups=groups)
        case "none":
            return NetworkWish(choice=NetworkChoice.NONE, security_groups=groups)
        case listed:
            return NetworkWish(
                choice=NetworkChoice.LISTED,
                nics=tuple(_nic(each) for each in listed),
                security_groups=groups,
            )


def _nic(wanted: dict[str, Any]) -> NicWish:
    if wanted.get("tag") is not None:
        raise ApiError(400, "networks: device tags are not supported yet; leave 'tag' out.")
    network_id = wanted.get("uuid")
    if network_id is not None and not is_uuid(network_id.lower()):
        raise ApiError(400, f"Bad networks format: network uuid is not in proper format ({network_id[:64]})")
    return NicWish(
        port_id=wanted.get("port"),
        network_id=network_id.lower() if network_id else None,
        fixed_ip=wanted.get("fixed_ip"),
    )


def _image_ref(wanted: dict[str, Any]) -> str:
    """`imageRef`, or the one disk that says the same. Raises: ApiError 400."""
    named: str = wanted.get("imageRef") or ""
    disks = wanted.get("block_device_mapping_v2", [])
    for disk in disks:
        _refuse_all_but_local_image(disk)
    if len(disks) > 1:
        raise ApiError(
            400, "block_device_mapping_v2: only the disk that the server boots from is supported yet."
        )
    if disks:
        on_disk = disks[0].get("uuid") or disks[0].get("image_id") or ""
        if named and on_disk and named != on_disk:
            raise ApiError(400, "block_device_mapping_v2: its image is not the one imageRef names.")
        named = named or on_disk
    if not is_uuid(named.lower()):
        raise ApiError(
            400, "Invalid imageRef provided. Servers boot from an image; volumes are not supported yet."
        )
    return named.lower()


def _refuse_all_but_local_image(disk: dict[str, Any]) -> None:
    is_image = disk.get("source_type") == "image" or ("image_id" in disk and "source_type" not in disk)
    is_local = disk.get("destination_type", "local") == "local"
    index = disk.get("boot_index", 0)
    if not (is_image and is_local and index is not None and int(index) == 0):
        raise ApiError(
            400,
            "block_device_mapping_v2: only an image on a local disk with boot_index 0 is supported yet; "
            "volumes, snapshots and blank disks are not.",
        )
    extra = sorted(name for name in disk.keys() - _LOCAL_IMAGE_DISK if disk[name] is not None)
    if extra:
        raise ApiError(
            400, f"block_device_mapping_v2: {', '.join(extra)} is not supported yet; leave it out."
        )


def _refuse_unbuilt(wanted: dict[str, Any]) -> None:
    refuse_access_addresses(wanted)
    if wanted.get("personality"):
        raise ApiError(400, "personality: files cannot be injected; use user_data or a config drive.")
    if wanted.get("block_device_mapping"):
        raise ApiError(400, "block_device_mapping: booting from volumes is not supported yet.")
    if wanted.get("trusted_image_certificates"):
        raise ApiError(
            400, "trusted_image_certificates: image signatures are not verified here; leave it out."
        )
