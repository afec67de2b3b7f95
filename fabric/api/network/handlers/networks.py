"""Networks over HTTP."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from fabric.api.network.creation import create as create_all
from fabric.api.network.creation import owner, refuse_changed, whole_number
from fabric.api.network.listing import only_fields, select
from fabric.api.network.schemas.bodies import MTU_MAX, MTU_MIN, NETWORK_CREATE
from fabric.api.network.views import networks as view
from fabric.api.request import body, caller, cloud
from fabric.api.responses import empty_response, json_response
from fabric.control import networks
from fabric.control.errors import InvalidError
from fabric.control.network_agents import network_zones
from fabric.control.networks import NetworkChange, NewNetwork
from fabric.core.networks.model import Network
from proto.ids import NetworkId, RequestId

_FIXED = (
    "port_security_enabled",
    "provider:network_type",
    "provider:physical_network",
    "provider:segmentation_id",
)


async def index(request: web.Request) -> web.Response:
    zones = await network_zones(cloud(request))
    is_admin = caller(request).is_admin
    found = await networks.list_networks(cloud(request), caller(request))
    rendered = [view.render(network, zones, for_admin=is_admin) for network in found]
    return json_response(select(request, rendered, collection="networks", attributes=view.ATTRIBUTES))


async def show(request: web.Request) -> web.Response:
    network = await networks.get_network(cloud(request), caller(request), _network_id(request))
    return json_response({"network": only_fields(request.query, await _render(request, network))})


async def create(request: web.Request) -> web.Response:
    zones = await network_zones(cloud(request))

    async def make(new: NewNetwork, request_id: RequestId) -> Network:
        return await networks.create_network(cloud(request), caller(request), new, request_id=request_id)

    async def undo(network: Network, request_id: RequestId) -> None:
        await networks.delete_network(
            cloud(request), caller(request), network.network_id, request_id=request_id
        )

    is_admin = caller(request).is_admin
    return await create_all(
        request, NETWORK_CREATE, _new, make, undo, lambda made: view.render(made, zones, for_admin=is_admin)
    )


async def update(request: web.Request) -> web.Response:
    attributes = body(request)["network"]
    network = await networks.get_network(cloud(request), caller(request), _network_id(request))
    refuse_changed(
        attributes, await _render(request, network), _FIXED, "Make another network with the wanted value."
    )
    change = NetworkChange(
        name=attributes.get("name"),
        description=attributes.get("description"),
        admin_state_up=attributes.get("admin_state_up"),
        shared=attributes.get("shared"),
        external=attributes.get("router:external"),
        mtu=_mtu(attributes),
    )
    network = await networks.update_network(cloud(request), caller(request), network.network_id, change)
    return json_response({"network": await _render(request, network)})


async def delete(request: web.Request) -> web.Response:
    await networks.delete_network(cloud(request), caller(request), _network_id(request))
    return empty_response(204)


def _new(attributes: dict[str, Any]) -> NewNetwork:
    default = NewNetwork()
    mtu = _mtu(attributes)
    return NewNetwork(
        name=attributes.get("name", default.name),
        description=attributes.get("description", default.description),
        project_id=owner(attributes),
        admin_state_up=attributes.get("admin_state_up", default.admin_state_up),
        shared=attributes.get("shared", default.shared),
        external=attributes.get("router:external", default.external),
        mtu=default.mtu if mtu is None else mtu,
        port_security_enabled=attributes.get("port_security_enabled", default.port_security_enabled),
        provider_type=attributes.get("provider:network_type"),
        physical_network=attributes.get("provider:physical_network"),
    )


def _mtu(attributes: dict[str, Any]) -> int | None:
    mtu = whole_number(attributes.get("mtu"))
    if mtu is not None and not MTU_MIN <= mtu <= MTU_MAX:
        raise InvalidError(f"Invalid input for mtu. {mtu} must be between {MTU_MIN} and {MTU_MAX}.")
    return mtu


async def _render(request: web.Request, network: Network) -> dict[str, Any]:
    zones = await network_zones(cloud(request))
    return view.render(network, zones, for_admin=caller(request).is_admin)


def _network_id(request: web.Request) -> NetworkId:
    return NetworkId(request.match_info["network_id"])
