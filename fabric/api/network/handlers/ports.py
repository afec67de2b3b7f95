"""Ports over HTTP."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from fabric.api.network.creation import create as create_all
from fabric.api.network.creation import owner, refuse_changed
from fabric.api.network.listing import only_fields, select
from fabric.api.network.schemas.bodies import PORT_CREATE
from fabric.api.network.views import ports as view
from fabric.api.request import body, caller, cloud
from fabric.api.responses import empty_response, json_response
from fabric.control import ports
from fabric.control.ports import FixedIpWish, NewPort, PortChange
from fabric.core.networks.model import Port
from proto.ids import NetworkId, PortId, RequestId, SecurityGroupId, SubnetId

_FIXED = ("fixed_ips", "mac_address", "port_security_enabled")
_SPECIAL = {"fixed_ips": view.match_fixed_ips, "security_groups": view.match_security_groups}


async def index(request: web.Request) -> web.Response:
    network_id = _only(request, "network_id")
    found = await ports.list_ports(
        cloud(request),
        caller(request),
        network_id=None if network_id is None else NetworkId(network_id),
        device_id=_only(request, "device_id"),
    )
    rendered = [_render(request, port) for port in found]
    page = select(request, rendered, collection="ports", attributes=view.ATTRIBUTES, special=_SPECIAL)
    return json_response(page)


async def show(request: web.Request) -> web.Response:
    port = await ports.get_port(cloud(request), caller(request), _port_id(request))
    return json_response({"port": only_fields(request.query, _render(request, port))})


async def create(request: web.Request) -> web.Response:
    async def make(new: NewPort, request_id: RequestId) -> Port:
        return await ports.create_port(cloud(request), caller(request), new, request_id=request_id)

    async def undo(port: Port, request_id: RequestId) -> None:
        await ports.delete_port(cloud(request), caller(request), port.port_id, request_id=request_id)

    return await create_all(request, PORT_CREATE, _new, make, undo, lambda port: _render(request, port))


async def update(request: web.Request) -> web.Response:
    attributes = body(request)["port"]
    port = await ports.get_port(cloud(request), caller(request), _port_id(request))
    if "mac_address" in attributes:
        attributes["mac_address"] = _mac(attributes["mac_address"])
    refuse_changed(attributes, _render(request, port), _FIXED, "Make another port with the wanted value.")
    change = PortChange(
        name=attributes.get("name"),
        description=attributes.get("description"),
        admin_state_up=attributes.get("admin_state_up"),
        security_group_ids=_groups(attributes),
        device_id=attributes.get("device_id"),
        device_owner=attributes.get("device_owner"),
    )
    port = await ports.update_port(cloud(request), caller(request), port.port_id, change)
    return json_response({"port": _render(request, port)})


async def delete(request: web.Request) -> web.Response:
    await ports.delete_port(cloud(request), caller(request), _port_id(request))
    return empty_response(204)


def _new(attributes: dict[str, Any]) -> NewPort:
    wishes = attributes.get("fixed_ips")
    mac = attributes.get("mac_address")
    return NewPort(
        network_id=NetworkId(attributes["network_id"]),
        project_id=owner(attributes),
        name=attributes.get("name", ""),
        description=attributes.get("description", ""),
        mac=None if mac is None else _mac(mac),
        fixed_ips=None if wishes is None else tuple(_wish(one) for one in wishes),
        security_group_ids=_groups(attributes),
        device_id=attributes.get("device_id", ""),
        device_owner=attributes.get("device_owner", ""),
        admin_state_up=attributes.get("admin_state_up", True),
        port_security_enabled=attributes.get("port_security_enabled"),
    )


def _wish(one: dict[str, str]) -> FixedIpWish:
    subnet_id = one.get("subnet_id")
    return FixedIpWish(
        subnet_id=None if subnet_id is None else SubnetId(subnet_id), address=one.get("ip_address")
    )


def _groups(attributes: dict[str, Any]) -> tuple[SecurityGroupId, ...] | None:
    groups = attributes.get("security_groups")
    return None if groups is None else tuple(SecurityGroupId(group) for group in groups)


def _mac(text: str) -> str:
    return text.lower().replace("-", ":")


def _only(request: web.Request, name: str) -> str | None:
    """A filter given once narrows the query itself; given several times it is left to `select`."""
    values = request.query.getall(name, [])
    return values[0] if len(values) == 1 else None


def _render(request: web.Request, port: Port) -> dict[str, Any]:
    return view.render(port, for_admin=caller(request).is_admin)


def _port_id(request: web.Request) -> PortId:
    return PortId(request.match_info["port_id"])
