"""Ports: an address and a MAC on a network, with or without a server behind it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fabric.control import policy
from fabric.control.addresses import PICK_ATTEMPTS_MAX, is_in_range, new_mac, pick_address
from fabric.control.context import Caller, Cloud
from fabric.control.errors import ConflictError, InvalidError
from fabric.control.network_errors import (
    AddressInUseError,
    AttributeForbiddenError,
    MacInUseError,
    NoAddressLeftError,
    PortInUseError,
    PortNotFoundError,
    SecurityGroupNotFoundError,
)
from fabric.control.networks import visible_network
from fabric.control.propose import propose
from fabric.control.security_groups import ensure_default_group
from fabric.core.networks.model import Network, Port, Subnet
from fabric.core.networks.queries import GetNetwork, GetPort, ListPorts, ListSecurityGroups, ListSubnets
from fabric.errors import CommandRejectedError
from fabric.runtime.hard_state import derive_request_id
from proto.commands.networks import FixedIpChoice, PortCreate, PortDelete, PortSpec, PortUpdate
from proto.ids import NetworkId, PortId, ProjectId, RequestId, SecurityGroupId, SubnetId, new_uuid


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedIpWish:
    """An address asked for: any of a subnet, one by name, or both."""

    subnet_id: SubnetId | None = None
    address: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPort:
    """A port as a caller asks for it. `fixed_ips` None: one address of the network's oldest subnet, if it
    has one. `security_group_ids` None: the project's default group. `mac` None: drawn."""

    network_id: NetworkId
    project_id: ProjectId | None = None
    name: str = ""
    description: str = ""
    mac: str | None = None
    fixed_ips: tuple[FixedIpWish, ...] | None = None
    security_group_ids: tuple[SecurityGroupId, ...] | None = None
    device_id: str = ""
    device_owner: str = ""
    admin_state_up: bool = True
    port_security_enabled: bool | None = None  # None: as the network says


@dataclass(frozen=True, slots=True, kw_only=True)
class PortChange:
    """None leaves a value as it is."""

    name: str | None = None
    description: str | None = None
    admin_state_up: bool | None = None
    security_group_ids: tuple[SecurityGroupId, ...] | None = None
    device_id: str | None = None
    device_owner: str | None = None


async def list_ports(
    cloud: Cloud,
    caller: Caller,
    *,
    network_id: NetworkId | None = None,
    device_id: str | None = None,
    port_ids: tuple[PortId, ...] = (),
) -> tuple[Port, ...]:
    """The caller's ports, all projects' for an admin."""
    policy.authorize(caller, "ports:list")
    query = ListPorts(
        visible_to=policy.visible_to(caller), network_id=network_id, device_id=device_id, port_ids=port_ids
    )
    return await cloud.state.read(query)


async def get_port(cloud: Cloud, caller: Caller, port_id: PortId) -> Port:
    """Raises PortNotFoundError, also for another project's."""
    policy.authorize(caller, "ports:show")
    return await _owned_port(cloud, caller, port_id)


async def create_port(
    cloud: Cloud, caller: Caller, new: NewPort, *, request_id: RequestId | None = None
) -> Port:
    """Raises NetworkNotFoundError, SecurityGroupNotFoundError, AttributeForbiddenError, InvalidError,
    AddressInUseError, NoAddressLeftError, MacInUseError, QuotaError."""
    policy.authorize(caller, "ports:create")
    network = await visible_network(cloud, caller, new.network_id)
    owner = policy.owner_of_new(caller, new.project_id)
    if not policy.can_see(caller, network.project_id):
        _refuse_owner_attributes(new)
    security = (
        network.port_security_enabled if new.port_security_enabled is None else new.port_security_enabled
    )
    groups = await _groups_of_new(cloud, caller, owner, new.security_group_ids, security=security)
    subnets = await cloud.state.read(ListSubnets(network_id=network.network_id))
    port_id = PortId(new_uuid())

    async def draw() -> PortSpec:
        return PortSpec(
            port_id=port_id,
            network_id=network.network_id,
            project_id=owner,
            mac=new.mac or new_mac(),
            fixed_ips=await choose_fixed_ips(cloud, network, subnets, new.fixed_ips),
            security_group_ids=groups,
            name=new.name,
            description=new.description,
            device_id=new.device_id,
            device_owner=new.device_owner,
            admin_state_up=new.admin_state_up,
            port_security_enabled=security,
        )

    await _create_until_free(cloud, new, draw, request_id or caller.request_id)
    return await _owned_port(cloud, caller, port_id)


async def update_port(cloud: Cloud, caller: Caller, port_id: PortId, change: PortChange) -> Port:
    """Raises PortNotFoundError, SecurityGroupNotFoundError, ConflictError (a server's port stays its own)."""
    policy.authorize(caller, "ports:update")
    port = await _owned_port(cloud, caller, port_id)
    if change.security_group_ids:
        if not port.port_security_enabled:
            raise ConflictError(
                "Port security must be enabled and port must have an IP address in order to use security "
                "groups."
            )
        await _check_groups(cloud, port.project_id, change.security_group_ids)
    update = PortUpdate(
        port_id=port_id,
        name=change.name,
        description=change.description,
        admin_state_up=change.admin_state_up,
        security_group_ids=change.security_group_ids,
        device_id=change.device_id,
        device_owner=change.device_owner,
    )
    await propose(cloud, update, request_id=caller.request_id)
    return await _owned_port(cloud, caller, port_id)


async def delete_port(
    cloud: Cloud, caller: Caller, port_id: PortId, *, request_id: RequestId | None = None
) -> None:
    """Raises PortNotFoundError, PortInUseError."""
    policy.authorize(caller, "ports:delete")
    port = await _owned_port(cloud, caller, port_id)
    try:
        await propose(cloud, PortDelete(port_id=port_id), request_id=request_id or caller.request_id)
    except ConflictError as error:
        raise PortInUseError(
            f"Port {port_id} is in use by server {port.device_id}: detach it or delete the server."
        ) from error


async def choose_fixed_ips(
    cloud: Cloud,
    network: Network,
    subnets: tuple[Subnet, ...],
    wishes: tuple[FixedIpWish, ...] | None,
    taken: frozenset[FixedIpChoice] = frozenset(),
) -> tuple[FixedIpChoice, ...]:
    """Addresses for a port of `network`, free at this moment and none of `taken`. Raises InvalidError,
    AddressInUseError, NoAddressLeftError."""
    if wishes is None:
        return await _any_address(cloud, subnets, taken)
    chosen: list[FixedIpChoice] = []
    for wish in wishes:
        subnet = _subnet_of_wish(network, subnets, wish)
        address = await pick_address(cloud, subnet, wish.address, _addresses_in(subnet, taken.union(chosen)))
        chosen.append(FixedIpChoice(subnet.subnet_id, address))
    return tuple(chosen)


def _addresses_in(subnet: Subnet, choices: frozenset[FixedIpChoice]) -> frozenset[str]:
    return frozenset(choice.address for choice in choices if choice.subnet_id == subnet.subnet_id)


async def _any_address(
    cloud: Cloud, subnets: tuple[Subnet, ...], taken: frozenset[FixedIpChoice]
) -> tuple[FixedIpChoice, ...]:
    """From the oldest subnet that has one left: Neutron's order. No subnet: a port without an address."""
    for number, subnet in enumerate(subnets, start=1):
        try:
            address = await pick_address(cloud, subnet, None, _addresses_in(subnet, taken))
            return (FixedIpChoice(subnet.subnet_id, address),)
        except NoAddressLeftError:
            if number == len(subnets):
                raise
    return ()


def _subnet_of_wish(network: Network, subnets: tuple[Subnet, ...], wish: FixedIpWish) -> Subnet:
    if wish.subnet_id is not None:
        for subnet in subnets:
            if subnet.subnet_id == wish.subnet_id:
                return subnet
        raise InvalidError(
            f"Failed to create port on network {network.network_id}: no such subnet {wish.subnet_id}."
        )
    if wish.address is None:
        raise InvalidError("IP allocation requires subnet_id or ip_address in each of fixed_ips.")
    for subnet in subnets:
        if is_in_range(subnet, wish.address):
            return subnet
    raise InvalidError(
        f"IP address {wish.address} is not a valid IP for any of the subnets on network {network.network_id}."
    )


async def _create_until_free(
    cloud: Cloud, new: NewPort, draw: Callable[[], Awaitable[PortSpec]], request_id: RequestId
) -> None:
    """Proposes; when another port was faster to the address, or has the MAC drawn, draws again. Each
    attempt is a command of its own, so each has an id of its own."""
    for attempt in range(PICK_ATTEMPTS_MAX):
        spec = await draw()
        try:
            await propose(
                cloud, PortCreate(port=spec), request_id=derive_request_id(request_id, f"port-{attempt}")
            )
            return
        except CommandRejectedError as error:
            if error.reason == "mac_taken" and new.mac is not None:
                raise MacInUseError(error.message) from error
            if error.reason == "mac_taken":
                continue
            if error.reason != "address_taken":
                raise
            wished = [wish.address for wish in new.fixed_ips or () if wish.address is not None]
            taken = [choice.address for choice in spec.fixed_ips]
            if wished and set(wished) == set(taken):  # nothing was drawn, so another draw is the same
                raise AddressInUseError(error.message) from error
    raise NoAddressLeftError(
        f"No address of network {new.network_id} could be had in {PICK_ATTEMPTS_MAX} attempts; try again."
    )


async def _groups_of_new(
    cloud: Cloud,
    caller: Caller,
    owner: ProjectId,
    wanted: tuple[SecurityGroupId, ...] | None,
    *,
    security: bool,
) -> tuple[SecurityGroupId, ...]:
    if not security:
        if wanted:
            raise ConflictError("Port security must be enabled in order to use security groups.")
        return ()
    if wanted is None:
        return ((await ensure_default_group(cloud, caller, owner)).security_group_id,)
    await _check_groups(cloud, owner, wanted)
    return tuple(dict.fromkeys(wanted))


async def _check_groups(cloud: Cloud, owner: ProjectId, wanted: tuple[SecurityGroupId, ...]) -> None:
    known = {
        group.security_group_id for group in await cloud.state.read(ListSecurityGroups(visible_to=owner))
    }
    for group_id in wanted:
        if group_id not in known:
            raise SecurityGroupNotFoundError(f"Security group {group_id} does not exist.")


async def _owned_port(cloud: Cloud, caller: Caller, port_id: PortId) -> Port:
    port = await cloud.state.read(GetPort(port_id=port_id))
    if port is None:
        raise PortNotFoundError(f"Port {port_id} could not be found.")
    if not policy.can_see(caller, port.project_id):
        network = await cloud.state.read(GetNetwork(network_id=port.network_id))
        if network is None or not policy.can_see(caller, network.project_id):
            raise PortNotFoundError(f"Port {port_id} could not be found.")
    return port


def _refuse_owner_attributes(new: NewPort) -> None:
    """On a network shared with the caller. Source: Neutron's policy, ADMIN_OR_NET_OWNER rules."""
    asked = (
        ("mac_address", new.mac is not None),
        ("fixed_ips:ip_address", any(wish.address is not None for wish in new.fixed_ips or ())),
        ("port_security_enabled", new.port_security_enabled is not None),
        ("device_owner", new.device_owner.startswith("network:")),
    )
    for name, is_set in asked:
        if is_set:
            raise AttributeForbiddenError(f"'{name}' may be set by the network's owner or an admin only.")
