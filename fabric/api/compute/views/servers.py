"""A server as JSON. The table of what came when: FEATURES.md E4; Nova's "REST API Version History"."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fabric.api.compute.links import Links
from fabric.api.compute.versions import v
from fabric.api.compute.views.image_properties import shown_properties
from fabric.api.compute.views.times import micros, seconds_z
from fabric.api.microversion import Microversion
from fabric.core.networks.model import Port
from fabric.core.servers.model import Origin, Server, ServerView
from fabric.core.servers.states import POWER_STATE_CODE, api_status
from proto.ids import ServerId

PROGRESS_STATUSES = frozenset({"ACTIVE", "BUILD"})  # of ours, those for which Nova shows `progress`
DISK_CONFIG = "MANUAL"  # Nova's default; partitions are the guest's own affair here
ROOT_DEVICE = "/dev/vda"
NO_ORIGIN = Origin()  # of a server that went between two reads


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """For whom and how. `host_statuses`: by host name, needed for admins from 2.16; `origins`: from 2.98."""

    version: Microversion
    links: Links
    is_admin: bool
    host_statuses: Mapping[str, str] = field(default_factory=dict)
    origins: Mapping[ServerId, Origin] = field(default_factory=dict)

    def origin(self, server: Server) -> Origin:
        return self.origins.get(server.server_id, NO_ORIGIN)


def brief(view: ServerView, how: Rendering) -> dict[str, Any]:
    server = view.server
    return {
        "id": server.server_id,
        "name": server.name,
        "links": how.links.both("servers", server.server_id),
    }


def detail(view: ServerView, how: Rendering) -> dict[str, Any]:
    """One of a detailed list."""
    return _base(view, how) | _extended(view, how) | _versioned(view, how)


def show(view: ServerView, how: Rendering) -> dict[str, Any]:
    """GET of one: also its groups from 2.71."""
    return detail(view, how) | _groups(view, how)


def updated(view: ServerView, how: Rendering) -> dict[str, Any]:
    """The answer to PUT: below 2.75 without what extensions added, from it the same as GET."""
    if how.version >= v(75):
        return show(view, how)
    result = _base(view, how) | _versioned(view, how) | _groups(view, how)
    result["addresses"] = addresses(view, extended=False)
    return result


def created(server_id: str, admin_pass: str, groups: tuple[str, ...], how: Rendering) -> dict[str, Any]:
    return {
        "id": server_id,
        "links": how.links.both("servers", server_id),
        "OS-DCF:diskConfig": DISK_CONFIG,
        "security_groups": [{"name": name} for name in groups],
        "adminPass": admin_pass,
    }


def addresses(view: ServerView, *, extended: bool) -> dict[str, list[dict[str, Any]]]:
    """By network name, in NIC order. `extended`: with MAC and type."""
    networks: dict[str, list[dict[str, Any]]] = {}
    for port in view.ports:
        networks.setdefault(port.network_name, []).extend(_addresses_of(port, extended=extended))
    return networks


def _addresses_of(port: Port, *, extended: bool) -> list[dict[str, Any]]:
    entries = []
    for choice in port.fixed_ips:
        entry: dict[str, Any] = {
            "version": ipaddress.ip_address(choice.address).version,
            "addr": choice.address,
        }
        if extended:
            entry |= {"OS-EXT-IPS:type": "fixed", "OS-EXT-IPS-MAC:mac_addr": port.mac}
        entries.append(entry)
    return entries


def _base(view: ServerView, how: Rendering) -> dict[str, Any]:
    server = view.server
    status = api_status(server.vm_state, server.task_state)
    result: dict[str, Any] = {
        "id": server.server_id,
        "name": server.name,
        "status": status,
        "tenant_id": server.project_id,
        "user_id": server.user_id,
        "metadata": dict(server.metadata),
        "hostId": host_id(server),
        "image": _image(server, how),
        "flavor": _flavor(server, how),
        "created": seconds_z(server.created_ms),
        "updated": seconds_z(server.updated_ms),
        "addresses": addresses(view, extended=True),
        "accessIPv4": "",
        "accessIPv6": "",
        "links": how.links.both("servers", server.server_id),
        "OS-DCF:diskConfig": DISK_CONFIG,
    }
    if status in PROGRESS_STATUSES:
        result["progress"] = 0
    if server.fault is not None and status == "ERROR":
        result["fault"] = _fault(server, how)
    return result


def _extended(view: ServerView, how: Rendering) -> dict[str, Any]:
    """What Nova's extensions add to GET at every version."""
    server = view.server
    result: dict[str, Any] = {
        "OS-EXT-AZ:availability_zone": server.zone or server.zone_wanted or "",
        "config_drive": "True" if server.config_drive else "",
        "key_name": server.key_name,
        "OS-SRV-USG:launched_at": micros(server.launched_ms),
        "OS-SRV-USG:terminated_at": None,
        "OS-EXT-STS:task_state": server.task_state.value if server.task_state else None,
        "OS-EXT-STS:vm_state": server.vm_state.value,
        "OS-EXT-STS:power_state": POWER_STATE_CODE[server.power_state],
        "os-extended-volumes:volumes_attached": [],
    }
    if view.security_groups:  # Nova leaves it out where no port has one
        result["security_groups"] = [{"name": name} for name in view.security_groups]
    if how.is_admin:
        result |= _admin_attributes(server, how)
    if how.version >= v(90) or (how.is_admin and how.version >= v(3)):
        result["OS-EXT-SRV-ATTR:hostname"] = server.hostname
    return result


def _admin_attributes(server: Server, how: Rendering) -> dict[str, Any]:
    result: dict[str, Any] = {
        "OS-EXT-SRV-ATTR:host": server.host_name,
        "OS-EXT-SRV-ATTR:hypervisor_hostname": server.host_name,
        "OS-EXT-SRV-ATTR:instance_name": f"fabric-{server.server_id}",  # the domain's name on its host
    }
    if how.version >= v(3):
        user_data = server.user_data
        result |= {
            "OS-EXT-SRV-ATTR:reservation_id": server.reservation_id,
            "OS-EXT-SRV-ATTR:launch_index": server.launch_index,
            "OS-EXT-SRV-ATTR:kernel_id": "",
            "OS-EXT-SRV-ATTR:ramdisk_id": "",
            "OS-EXT-SRV-ATTR:root_device_name": ROOT_DEVICE,
            "OS-EXT-SRV-ATTR:user_data": base64.b64encode(user_data).decode() if user_data else None,
        }
    if how.version >= v(16):
        result["host_status"] = how.host_statuses.get(server.host_name or "", "")
    return result


def _versioned(view: ServerView, how: Rendering) -> dict[str, Any]:
    """Fields with a microversion of their own, in every answer that shows a server."""
    server, version = view.server, how.version
    result: dict[str, Any] = {}
    if version >= v(9):
        result["locked"] = server.locked
    if version >= v(19):
        result["description"] = server.description or None
    if version >= v(26):
        result["tags"] = sorted(server.tags)
    if version >= v(63):
        result["trusted_image_certificates"] = None
    if version >= v(73):
        result["locked_reason"] = server.locked_reason
    if version >= v(96):
        result["pinned_availability_zone"] = server.zone_wanted
    if version >= v(100):
        result["scheduler_hints"] = {name: list(told) for name, told in how.origin(server).hints.items()}
    return result


def _groups(view: ServerView, how: Rendering) -> dict[str, Any]:
    """A list, though a server is in one group at most."""
    if how.version < v(71):
        return {}
    return {"server_groups": [] if view.server_group_id is None else [view.server_group_id]}


def _image(server: Server, how: Rendering) -> dict[str, Any]:
    result: dict[str, Any] = {
        "id": server.image_id,
        "links": [how.links.bookmark("images", server.image_id)],
    }
    if how.version >= v(98):
        result["properties"] = shown_properties(how.origin(server).image_properties)
    return result


def _flavor(server: Server, how: Rendering) -> dict[str, Any]:
    flavor = server.flavor
    if how.version < v(47):
        return {"id": flavor.flavor_id, "links": [how.links.bookmark("flavors", flavor.flavor_id)]}
    return {
        "original_name": flavor.name,
        "vcpus": flavor.vcpus,
        "ram": flavor.memory_mb,
        "disk": flavor.root_gb,
        "ephemeral": flavor.ephemeral_gb,
        "swap": flavor.swap_mb,
        "extra_specs": dict(flavor.extra_specs),
    }


def _fault(server: Server, how: Rendering) -> dict[str, Any]:
    fault = server.fault
    assert fault is not None
    result: dict[str, Any] = {
        "code": fault.code,
        "created": seconds_z(fault.created_ms),
        "message": fault.message,
    }
    if fault.details and how.is_admin:
        result["details"] = fault.details
    return result


def host_id(server: Server) -> str:
    """Tells a tenant which of its servers share a host, and nobody which host that is."""
    if not server.host_name:
        return ""
    return hashlib.sha224(f"{server.project_id}{server.host_name}".encode()).hexdigest()
