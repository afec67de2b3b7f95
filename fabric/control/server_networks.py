"""Which ports a new server gets: named ports, named networks, or the only network there is.

Source: Nova's API guide, "Create server", `networks`; messages and codes are Nova's, since clients
show and tests match them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fabric.control import policy
from fabric.control.addresses import new_mac
from fabric.control.context import Caller, Cloud
from fabric.control.errors import ConflictError, ForbiddenError, InvalidError
from fabric.control.network_errors import AddressInUseError
from fabric.control.networks import can_use
from fabric.control.ports import FixedIpWish, choose_fixed_ips
from fabric.control.security_groups import DEFAULT_GROUP_NAME, ensure_default_group
from fabric.core.networks.model import Network, Port, Subnet
from fabric.core.networks.queries import GetNetwork, GetPort, ListNetworks, ListSecurityGroups, ListSubnets
from proto.commands.networks import FixedIpChoice, PortSpec
from proto.ids import NetworkId, PortId, ProjectId, SecurityGroupId, new_uuid

NICS_MAX = 64  # on one server; more than any guest can hold
DEVICE_OWNER = "compute:"  # Neutron's prefix of ports that servers own; the zone follows it


class NetworkChoice(StrEnum):
    """What the request said beside, or instead of, a list."""

    UNSAID = "unsaid"  # before 2.37: the only network, or none
    LISTED = "listed"
    AUTO = "auto"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class NicWish:
    """One of `networks`: a port, or a network with or without a certain address on it."""

    port_id: str | None = None
    network_id: str | None = None
    fixed_ip: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkWish:
    choice: NetworkChoice = NetworkChoice.UNSAID
    nics: tuple[NicWish, ...] = ()
    security_groups: tuple[str, ...] = ()  # names or ids; none: the project's default group


@dataclass(frozen=True, slots=True)
class NewNic:
    network: Network
    subnets: tuple[Subnet, ...]
    fixed_ip: str | None


@dataclass(frozen=True, slots=True)
class NicPlan:
    """Resolved and checked, in NIC order. Addresses are drawn later, once for each attempt."""

    nics: tuple[NewNic | Port, ...]
    security_group_ids: tuple[SecurityGroupId, ...]
    project_id: ProjectId
    device_owner: str

    @property
    def is_single_use(self) -> bool:
        """It names a port or an address, so only one server can have it."""
        return any(isinstance(nic, Port) or nic.fixed_ip is not None for nic in self.nics)

    @property
    def new_ports(self) -> int:
        """How many are made for each server."""
        return sum(isinstance(nic, NewNic) for nic in self.nics)

    @property
    def draws_addresses(self) -> bool:
        """Another attempt would choose other addresses."""
        return any(isinstance(nic, NewNic) and nic.fixed_ip is None for nic in self.nics)


@dataclass(frozen=True, slots=True)
class DrawnPorts:
    new: tuple[PortSpec, ...]
    existing: tuple[PortId, ...]
    order: tuple[PortId, ...]


async def plan_nics(cloud: Cloud, caller: Caller, project_id: ProjectId, wish: NetworkWish) -> NicPlan:
    """Raises: InvalidError, ForbiddenError (external network), ConflictError (ambiguous, port in use)."""
    nics = await _resolve(cloud, caller, project_id, wish)
    makes_ports = any(isinstance(nic, NewNic) for nic in nics)
    groups = await _resolve_groups(cloud, caller, project_id, wish.security_groups, needed=makes_ports)
    return NicPlan(nics, groups, project_id, DEVICE_OWNER + cloud.default_zone)


async def draw_ports(
    cloud: Cloud, plan: NicPlan, taken: frozenset[FixedIpChoice] = frozenset()
) -> DrawnPorts:
    """Fresh ids, MACs and free addresses, none of them of `taken`. Raises: InvalidError, ConflictError (no
    address left)."""
    new: list[PortSpec] = []
    existing: list[PortId] = []
    order: list[PortId] = []
    for nic in plan.nics:
        if isinstance(nic, Port):
            existing.append(nic.port_id)
            order.append(nic.port_id)
            continue
        spec = await _draw_port(cloud, plan, nic, taken)
        taken |= frozenset(spec.fixed_ips)
        new.append(spec)
        order.append(spec.port_id)
    return DrawnPorts(tuple(new), tuple(existing), tuple(order))


async def _draw_port(cloud: Cloud, plan: NicPlan, nic: NewNic, taken: frozenset[FixedIpChoice]) -> PortSpec:
    wishes = None if nic.fixed_ip is None else (FixedIpWish(address=nic.fixed_ip),)
    try:
        fixed_ips = await choose_fixed_ips(cloud, nic.network, nic.subnets, wishes, taken)
    except AddressInUseError as error:
        raise InvalidError(f"Fixed IP address {nic.fixed_ip} is already in use.") from error
    guarded = nic.network.port_security_enabled
    return PortSpec(
        port_id=PortId(new_uuid()),
        network_id=nic.network.network_id,
        project_id=plan.project_id,
        mac=new_mac(),
        fixed_ips=fixed_ips,
        security_group_ids=plan.security_group_ids if guarded else (),
        device_owner=plan.device_owner,
        port_security_enabled=guarded,
    )


async def _resolve(
    cloud: Cloud, caller: Caller, project_id: ProjectId, wish: NetworkWish
) -> tuple[NewNic | Port, ...]:
    if wish.choice is NetworkChoice.NONE:
        return ()
    if wish.choice is NetworkChoice.LISTED and wish.nics:
        return await _resolve_listed(cloud, caller, wish.nics)
    network = await _only_network(cloud, project_id)
    if network is None:
        if wish.choice is NetworkChoice.AUTO:
            raise InvalidError(
                f"Unable to automatically allocate a network for project {project_id}: it can use none."
            )
        return ()
    return (await _on_network(cloud, network, None),)


async def _only_network(cloud: Cloud, project_id: ProjectId) -> Network | None:
    """The one network a server of the project can be put on without saying which.

    Raises: ConflictError when there are several.
    """
    networks = [
        network
        for network in await cloud.state.read(ListNetworks(visible_to=project_id))
        if (network.shared or network.project_id == project_id)
        and network.admin_state_up
        and network.subnet_ids
    ]
    if len(networks) > 1:
        raise ConflictError("Multiple possible networks found, use a Network ID to be more specific.")
    return networks[0] if networks else None


async def _resolve_listed(
    cloud: Cloud, caller: Caller, wishes: tuple[NicWish, ...]
) -> tuple[NewNic | Port, ...]:
    if len(wishes) > NICS_MAX:
        raise InvalidError(f"networks: at most {NICS_MAX} are allowed on one server.")
    nics: list[NewNic | Port] = []
    ports: set[str] = set()
    addresses: set[tuple[str, str]] = set()
    for wish in wishes:
        if wish.port_id is not None:
            if wish.port_id in ports:
                raise InvalidError(f"networks: port {wish.port_id} is named more than once.")
            ports.add(wish.port_id)
            nics.append(await _existing_port(cloud, caller, wish))
            continue
        if wish.network_id is None:
            raise InvalidError("networks: each needs a 'uuid' or a 'port'.")
        if wish.fixed_ip is not None:
            if (wish.network_id, wish.fixed_ip) in addresses:
                raise InvalidError(f"networks: fixed_ip {wish.fixed_ip} is asked for more than once.")
            addresses.add((wish.network_id, wish.fixed_ip))
        nics.append(await _named_network(cloud, caller, wish.network_id, wish.fixed_ip))
    return tuple(nics)


async def _existing_port(cloud: Cloud, caller: Caller, wish: NicWish) -> Port:
    if wish.fixed_ip is not None:
        raise InvalidError(
            f"Specified Fixed IP '{wish.fixed_ip}' cannot be used with port '{wish.port_id}': "
            "the two cannot be specified together."
        )
    port = await cloud.state.read(GetPort(port_id=PortId(wish.port_id or "")))
    if port is None or not policy.can_see(caller, port.project_id):
        raise InvalidError(f"Port id {wish.port_id} could not be found.")
    if port.device_id:
        raise ConflictError(f"Port {port.port_id} is still in use.")
    if not port.fixed_ips:
        raise InvalidError(f"Port {port.port_id} requires a FixedIP in order to be used.")
    return port


async def _named_network(cloud: Cloud, caller: Caller, network_id: str, fixed_ip: str | None) -> NewNic:
    network = await cloud.state.read(GetNetwork(network_id=NetworkId(network_id)))
    if network is None or not can_use(caller, network):
        raise InvalidError(f"Network {network_id} could not be found.")
    if network.external and not network.shared and not caller.is_admin:
        raise ForbiddenError(f"It is not allowed to create an interface on external network {network_id}")
    return await _on_network(cloud, network, fixed_ip)


async def _on_network(cloud: Cloud, network: Network, fixed_ip: str | None) -> NewNic:
    subnets = await cloud.state.read(ListSubnets(network_id=network.network_id))
    if not subnets:
        raise InvalidError(f"Network {network.network_id} requires a subnet in order to boot instances on.")
    return NewNic(network, subnets, fixed_ip)


async def _resolve_groups(
    cloud: Cloud, caller: Caller, project_id: ProjectId, wanted: tuple[str, ...], *, needed: bool
) -> tuple[SecurityGroupId, ...]:
    if not wanted or set(wanted) == {DEFAULT_GROUP_NAME}:
        if not needed:
            return ()
        return ((await ensure_default_group(cloud, caller, project_id)).security_group_id,)
    if DEFAULT_GROUP_NAME in wanted:
        await ensure_default_group(cloud, caller, project_id)
    known = [
        group
        for group in await cloud.state.read(ListSecurityGroups(visible_to=project_id))
        if group.project_id == project_id
    ]
    chosen: list[SecurityGroupId] = []
    for name in dict.fromkeys(wanted):
        by_id = [group for group in known if group.security_group_id == name]
        found = by_id or [group for group in known if group.name == name]
        if not found:
            raise InvalidError(f"Security group {name} not found for project {project_id}.")
        if len(found) > 1:
            raise ConflictError(
                f"Multiple security_group matches found for name '{name}', use an ID to be more specific."
            )
        chosen.append(found[0].security_group_id)
    return tuple(dict.fromkeys(chosen))
