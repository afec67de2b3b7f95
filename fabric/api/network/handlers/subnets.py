"""Subnets over HTTP."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from fabric.api.faults import ApiError
from fabric.api.network.creation import create as create_all
from fabric.api.network.creation import owner, refuse_changed, whole_number
from fabric.api.network.listing import only_fields, select
from fabric.api.network.schemas.bodies import SUBNET_CREATE
from fabric.api.network.views import subnets as view
from fabric.api.request import body, caller, cloud
from fabric.api.responses import empty_response, json_response
from fabric.control import subnets
from fabric.control.subnets import HostRoute, NewSubnet, SubnetChange
from fabric.core.networks.model import Subnet
from proto.ids import NetworkId, RequestId, SubnetId

_FIXED = ("allocation_pools", "host_routes")


async def index(request: web.Request) -> web.Response:
    found = await subnets.list_subnets(cloud(request), caller(request))
    rendered = [view.render(subnet) for subnet in found]
    return json_response(select(request, rendered, collection="subnets", attributes=view.ATTRIBUTES))


async def show(request: web.Request) -> web.Response:
    subnet = await subnets.get_subnet(cloud(request), caller(request), _subnet_id(request))
    return json_response({"subnet": only_fields(request.query, view.render(subnet))})


async def create(request: web.Request) -> web.Response:
    async def make(new: NewSubnet, request_id: RequestId) -> Subnet:
        return await subnets.create_subnet(cloud(request), caller(request), new, request_id=request_id)

    async def undo(subnet: Subnet, request_id: RequestId) -> None:
        await subnets.delete_subnet(cloud(request), caller(request), subnet.subnet_id, request_id=request_id)

    return await create_all(request, SUBNET_CREATE, _new, make, undo, view.render)


async def update(request: web.Request) -> web.Response:
    attributes = body(request)["subnet"]
    subnet = await subnets.get_subnet(cloud(request), caller(request), _subnet_id(request))
    refuse_changed(
        attributes, view.render(subnet), _FIXED, "Make another subnet on the network with the wanted value."
    )
    gateway = attributes.get("gateway_ip")
    if "gateway_ip" in attributes and not gateway and subnet.gateway_ip is not None:
        raise ApiError(
            400, "gateway_ip cannot be taken away from a subnet that has one.", type_name="InvalidInput"
        )
    names = attributes.get("dns_nameservers")
    change = SubnetChange(
        name=attributes.get("name"),
        description=attributes.get("description"),
        gateway_ip=gateway or None,
        enable_dhcp=attributes.get("enable_dhcp"),
        dns_nameservers=None if names is None else tuple(names),
    )
    subnet = await subnets.update_subnet(cloud(request), caller(request), subnet.subnet_id, change)
    return json_response({"subnet": view.render(subnet)})


async def delete(request: web.Request) -> web.Response:
    await subnets.delete_subnet(cloud(request), caller(request), _subnet_id(request))
    return empty_response(204)


def _new(attributes: dict[str, Any]) -> NewSubnet:
    pools = attributes.get("allocation_pools")
    gateway = attributes.get("gateway_ip")
    if "gateway_ip" in attributes and gateway is None:
        gateway = ""  # null asks for none, absence for the first host address
    return NewSubnet(
        network_id=NetworkId(attributes["network_id"]),
        cidr=attributes["cidr"],
        name=attributes.get("name", ""),
        description=attributes.get("description", ""),
        project_id=owner(attributes),
        ip_version=whole_number(attributes["ip_version"]) or 0,
        gateway_ip=gateway,
        enable_dhcp=attributes.get("enable_dhcp", True),
        dns_nameservers=tuple(attributes.get("dns_nameservers", ())),
        pools=None if pools is None else tuple((pool["start"], pool["end"]) for pool in pools),
        host_routes=tuple(
            HostRoute(destination=route["destination"], nexthop=route["nexthop"])
            for route in attributes.get("host_routes", ())
        ),
    )


def _subnet_id(request: web.Request) -> SubnetId:
    return SubnetId(request.match_info["subnet_id"])
