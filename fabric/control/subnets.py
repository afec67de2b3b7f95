"""Subnets: an IPv4 range of a network, its gateway, pools and what DHCP tells guests."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from fabric.control import policy
from fabric.control.context import Caller, Cloud
from fabric.control.errors import ConflictError, InvalidError
from fabric.control.network_errors import (
    AttributeForbiddenError,
    SubnetInUseError,
    SubnetNotFoundError,
    SubnetOverlapError,
)
from fabric.control.networks import can_use, list_networks, owned_network
from fabric.control.propose import propose
from fabric.core.networks.model import Subnet
from fabric.core.networks.queries import GetNetwork, GetSubnet, ListSubnets
from proto.commands.networks import AllocationPool, SubnetCreate, SubnetDelete, SubnetUpdate
from proto.ids import NetworkId, ProjectId, RequestId, SubnetId, new_uuid

_ADDRESSES_MIN = 4  # /30: network, gateway, one guest, broadcast
_ADDRESSES_MAX = 1 << 24


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRoute:
    destination: str
    nexthop: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSubnet:
    """A subnet as a caller asks for it. `gateway_ip` "" asks for none, None for the first host address;
    `pools` (first, last) None asks for all host addresses but the gateway's."""

    network_id: NetworkId
    cidr: str
    name: str = ""
    description: str = ""
    project_id: ProjectId | None = None
    ip_version: int = 4
    gateway_ip: str | None = None
    enable_dhcp: bool = True
    dns_nameservers: tuple[str, ...] = ()
    pools: tuple[tuple[str, str], ...] | None = None
    host_routes: tuple[HostRoute, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SubnetChange:
    """None leaves a value as it is."""

    name: str | None = None
    description: str | None = None
    gateway_ip: str | None = None
    enable_dhcp: bool | None = None
    dns_nameservers: tuple[str, ...] | None = None


async def list_subnets(
    cloud: Cloud, caller: Caller, *, network_id: NetworkId | None = None
) -> tuple[Subnet, ...]:
    """Subnets of the networks the caller can use, oldest first."""
    policy.authorize(caller, "subnets:list")
    usable = {network.network_id for network in await list_networks(cloud, caller)}
    subnets = await cloud.state.read(ListSubnets(network_id=network_id))
    return tuple(subnet for subnet in subnets if subnet.network_id in usable)


async def get_subnet(cloud: Cloud, caller: Caller, subnet_id: SubnetId) -> Subnet:
    """Raises SubnetNotFoundError."""
    policy.authorize(caller, "subnets:show")
    return await visible_subnet(cloud, caller, subnet_id)


async def create_subnet(
    cloud: Cloud, caller: Caller, new: NewSubnet, *, request_id: RequestId | None = None
) -> Subnet:
    """Raises NetworkNotFoundError, InvalidError, SubnetOverlapError, QuotaError."""
    policy.authorize(caller, "subnets:create")
    network = await owned_network(cloud, caller, new.network_id)
    owner = network.project_id
    if new.project_id is not None and policy.owner_of_new(caller, new.project_id) != owner:
        owner = new.project_id
    net = _checked_cidr(new)
    gateway = _gateway(net, new.gateway_ip)
    subnet_id = SubnetId(new_uuid())
    create = SubnetCreate(
        subnet_id=subnet_id,
        network_id=new.network_id,
        project_id=owner,
        name=new.name,
        description=new.description,
        cidr=str(net),
        gateway_ip=None if gateway is None else str(gateway),
        enable_dhcp=new.enable_dhcp,
        dns_nameservers=new.dns_nameservers,
        pools=_default_pools(net, gateway) if new.pools is None else _checked_pools(net, gateway, new.pools),
        host_routes=tuple(f"{route.destination} via {route.nexthop}" for route in new.host_routes),
    )
    try:
        await propose(cloud, create, request_id=request_id or caller.request_id)
    except ConflictError as error:
        raise SubnetOverlapError(
            f"Invalid input for operation: Requested subnet with cidr: {net} for network: "
            f"{new.network_id} overlaps with another subnet."
        ) from error
    return await visible_subnet(cloud, caller, subnet_id)


async def update_subnet(cloud: Cloud, caller: Caller, subnet_id: SubnetId, change: SubnetChange) -> Subnet:
    """Raises SubnetNotFoundError, InvalidError, ConflictError."""
    policy.authorize(caller, "subnets:update")
    subnet = await _owned_subnet(cloud, caller, subnet_id)
    if change.gateway_ip is not None and change.gateway_ip != subnet.gateway_ip:
        gateway = _gateway(ipaddress.IPv4Network(subnet.cidr), change.gateway_ip)
        assert gateway is not None, "the edge refuses an empty gateway"
        _refuse_gateway_in_pools(gateway, subnet.pools)
    update = SubnetUpdate(
        subnet_id=subnet_id,
        name=change.name,
        description=change.description,
        gateway_ip=change.gateway_ip,
        enable_dhcp=change.enable_dhcp,
        dns_nameservers=change.dns_nameservers,
    )
    await propose(cloud, update, request_id=caller.request_id)
    return await visible_subnet(cloud, caller, subnet_id)


async def delete_subnet(
    cloud: Cloud, caller: Caller, subnet_id: SubnetId, *, request_id: RequestId | None = None
) -> None:
    """Raises SubnetNotFoundError, SubnetInUseError."""
    policy.authorize(caller, "subnets:delete")
    await _owned_subnet(cloud, caller, subnet_id)
    try:
        await propose(cloud, SubnetDelete(subnet_id=subnet_id), request_id=request_id or caller.request_id)
    except ConflictError as error:
        raise SubnetInUseError(
            f"Unable to complete operation on subnet {subnet_id}: "
            "One or more ports have an IP allocation from this subnet."
        ) from error


async def visible_subnet(cloud: Cloud, caller: Caller, subnet_id: SubnetId) -> Subnet:
    """A subnet of a network the caller can use. Raises SubnetNotFoundError."""
    subnet = await cloud.state.read(GetSubnet(subnet_id=subnet_id))
    if subnet is not None:
        network = await cloud.state.read(GetNetwork(network_id=subnet.network_id))
        if network is not None and can_use(caller, network):
            return subnet
    raise SubnetNotFoundError(f"Subnet {subnet_id} could not be found.")


async def _owned_subnet(cloud: Cloud, caller: Caller, subnet_id: SubnetId) -> Subnet:
    subnet = await visible_subnet(cloud, caller, subnet_id)
    if not policy.can_see(caller, subnet.project_id):
        raise AttributeForbiddenError(f"Subnet {subnet_id} belongs to another project.")
    return subnet


def _checked_cidr(new: NewSubnet) -> ipaddress.IPv4Network:
    """The range in canonical form, host bits cleared as Neutron clears them."""
    if new.ip_version != 4:
        raise InvalidError("ip_version 6 is not offered yet: only IPv4 subnets can be made.")
    try:
        net = ipaddress.ip_network(new.cidr, strict=False)
    except ValueError as error:
        raise InvalidError(f"Invalid input for cidr. '{new.cidr[:64]}' is not a valid IP subnet.") from error
    if not isinstance(net, ipaddress.IPv4Network):
        raise InvalidError(f"cidr {net} is IPv6: only IPv4 subnets can be made yet.")
    if not _ADDRESSES_MIN <= net.num_addresses <= _ADDRESSES_MAX:
        raise InvalidError(f"cidr {net} must lie between /8 and /30.")
    if net.is_multicast or net.is_loopback or net.is_link_local or net.is_unspecified:
        raise InvalidError(f"cidr {net} is multicast, loopback or link-local and cannot hold guests.")
    return net


def _gateway(net: ipaddress.IPv4Network, wanted: str | None) -> ipaddress.IPv4Address | None:
    if wanted is None:
        return net.network_address + 1
    if wanted == "":
        return None
    try:
        gateway = ipaddress.IPv4Address(wanted)
    except ValueError as error:
        raise InvalidError(
            f"Invalid input for gateway_ip. '{wanted[:64]}' is not a valid IP address."
        ) from error
    if gateway not in net or gateway in (net.network_address, net.broadcast_address):
        raise InvalidError(f"gateway_ip {gateway} is not a host address of {net}.")
    return gateway


def _default_pools(
    net: ipaddress.IPv4Network, gateway: ipaddress.IPv4Address | None
) -> tuple[AllocationPool, ...]:
    """All host addresses but the gateway's: one run, or one on each side of it."""
    first, last = net.network_address + 1, net.broadcast_address - 1
    if gateway is None:
        return (AllocationPool(str(first), str(last)),)
    runs = ((first, gateway - 1), (gateway + 1, last))
    return tuple(AllocationPool(str(start), str(end)) for start, end in runs if start <= end)


def _checked_pools(
    net: ipaddress.IPv4Network, gateway: ipaddress.IPv4Address | None, pools: Sequence[tuple[str, str]]
) -> tuple[AllocationPool, ...]:
    bounds = []
    for first, last in pools:
        try:
            start, end = ipaddress.IPv4Address(first), ipaddress.IPv4Address(last)
        except ValueError as error:
            raise InvalidError(
                f"Invalid input for allocation_pools. '{first[:64]}-{last[:64]}' is not a pair of "
                "IPv4 addresses."
            ) from error
        if start > end or start <= net.network_address or end >= net.broadcast_address:
            raise InvalidError(f"The allocation pool {start}-{end} is not valid: it must lie within {net}.")
        bounds.append((start, end))
    bounds.sort()
    for (start, end), (next_start, next_end) in pairwise(bounds):
        if next_start <= end:
            raise InvalidError(
                f"Found overlapping allocation pools: {start}-{end} and {next_start}-{next_end} for {net}."
            )
    checked = tuple(AllocationPool(str(start), str(end)) for start, end in bounds)
    if gateway is not None:
        _refuse_gateway_in_pools(gateway, checked)
    return checked


def _refuse_gateway_in_pools(gateway: ipaddress.IPv4Address, pools: Sequence[AllocationPool]) -> None:
    for pool in pools:
        if ipaddress.IPv4Address(pool.start) <= gateway <= ipaddress.IPv4Address(pool.end):
            raise ConflictError(
                f"Gateway ip {gateway} conflicts with allocation pool {pool.start}-{pool.end}."
            )
