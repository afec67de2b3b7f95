"""Networks: who may see, make and change them."""

from __future__ import annotations

from dataclasses import dataclass

from fabric.control import policy
from fabric.control.context import Caller, Cloud
from fabric.control.errors import ConflictError, InvalidError
from fabric.control.network_errors import AttributeForbiddenError, NetworkInUseError, NetworkNotFoundError
from fabric.control.propose import propose
from fabric.core.networks.model import Network
from fabric.core.networks.queries import GetNetwork, ListNetworks
from proto.commands.networks import NetworkCreate, NetworkDelete, NetworkUpdate
from proto.ids import NetworkId, ProjectId, RequestId, new_uuid

STRATEGY_FLAT = "flat"  # addresses configured inside the guest: no DHCP from us
STRATEGY_FLAT_DHCP = "flat_dhcp"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewNetwork:
    """A network as a caller asks for it. `provider_type` is Neutron's word for the strategy."""

    name: str = ""
    description: str = ""
    project_id: ProjectId | None = None
    admin_state_up: bool = True
    shared: bool = False
    external: bool = False
    mtu: int = 1500
    port_security_enabled: bool = True
    provider_type: str | None = None
    physical_network: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkChange:
    """None leaves a value as it is."""

    name: str | None = None
    description: str | None = None
    admin_state_up: bool | None = None
    shared: bool | None = None
    external: bool | None = None
    mtu: int | None = None


async def list_networks(cloud: Cloud, caller: Caller) -> tuple[Network, ...]:
    """Own, shared and external networks, oldest first; all of them for an admin."""
    policy.authorize(caller, "networks:list")
    networks = await cloud.state.read(ListNetworks())
    return tuple(network for network in networks if can_use(caller, network))


async def get_network(cloud: Cloud, caller: Caller, network_id: NetworkId) -> Network:
    """Raises NetworkNotFoundError, also for a network the caller cannot see."""
    policy.authorize(caller, "networks:show")
    return await visible_network(cloud, caller, network_id)


async def create_network(
    cloud: Cloud, caller: Caller, new: NewNetwork, *, request_id: RequestId | None = None
) -> Network:
    """Raises AttributeForbiddenError (shared, external and provider attributes are the admin's),
    InvalidError, QuotaError."""
    policy.authorize(caller, "networks:create")
    owner = policy.owner_of_new(caller, new.project_id)
    if not caller.is_admin:
        _refuse_admin_attributes(new)
    if new.provider_type not in (None, "flat", "local"):
        raise InvalidError(
            f"provider:network_type '{new.provider_type}' is not offered; this fabric has 'flat' and 'local'."
        )
    if new.provider_type == "flat" and new.physical_network is None:
        raise InvalidError("provider:physical_network is required for a flat provider network.")
    if new.provider_type == "local" and new.physical_network is not None:
        raise InvalidError("provider:physical_network cannot be given for a local network.")
    network_id = NetworkId(new_uuid())
    create = NetworkCreate(
        network_id=network_id,
        project_id=owner,
        name=new.name,
        description=new.description,
        strategy=STRATEGY_FLAT_DHCP,
        physical_network=new.physical_network,
        admin_state_up=new.admin_state_up,
        shared=new.shared,
        external=new.external,
        mtu=new.mtu,
        port_security_enabled=new.port_security_enabled,
    )
    await propose(cloud, create, request_id=request_id or caller.request_id)
    return await visible_network(cloud, caller, network_id)


async def update_network(
    cloud: Cloud, caller: Caller, network_id: NetworkId, change: NetworkChange
) -> Network:
    """Raises NetworkNotFoundError (also when it is only shared with the caller), AttributeForbiddenError."""
    policy.authorize(caller, "networks:update")
    await owned_network(cloud, caller, network_id)
    if not caller.is_admin:
        for name, value in (("shared", change.shared), ("router:external", change.external)):
            if value is not None:
                raise AttributeForbiddenError(f"Only an admin may set '{name}' of a network.")
    update = NetworkUpdate(
        network_id=network_id,
        name=change.name,
        description=change.description,
        admin_state_up=change.admin_state_up,
        shared=change.shared,
        external=change.external,
        mtu=change.mtu,
    )
    await propose(cloud, update, request_id=caller.request_id)
    return await visible_network(cloud, caller, network_id)


async def delete_network(
    cloud: Cloud, caller: Caller, network_id: NetworkId, *, request_id: RequestId | None = None
) -> None:
    """Takes its subnets with it. Raises NetworkNotFoundError, NetworkInUseError."""
    policy.authorize(caller, "networks:delete")
    await owned_network(cloud, caller, network_id)
    try:
        await propose(cloud, NetworkDelete(network_id=network_id), request_id=request_id or caller.request_id)
    except ConflictError as error:
        raise NetworkInUseError(
            f"Unable to complete operation on network {network_id}. "
            "There are one or more ports still in use on the network."
        ) from error


async def visible_network(cloud: Cloud, caller: Caller, network_id: NetworkId) -> Network:
    """A network the caller may put ports on. Raises NetworkNotFoundError."""
    network = await cloud.state.read(GetNetwork(network_id=network_id))
    if network is None or not can_use(caller, network):
        raise NetworkNotFoundError(f"Network {network_id} could not be found.")
    return network


async def owned_network(cloud: Cloud, caller: Caller, network_id: NetworkId) -> Network:
    """A network the caller may change. Raises NetworkNotFoundError; AttributeForbiddenError when it is
    visible (shared) but another project's."""
    network = await visible_network(cloud, caller, network_id)
    if not policy.can_see(caller, network.project_id):
        raise AttributeForbiddenError(f"Network {network_id} belongs to another project.")
    return network


def can_use(caller: Caller, network: Network) -> bool:
    return network.shared or network.external or policy.can_see(caller, network.project_id)


def _refuse_admin_attributes(new: NewNetwork) -> None:
    asked = (
        ("shared", new.shared),
        ("router:external", new.external),
        ("provider:network_type", new.provider_type is not None),
        ("provider:physical_network", new.physical_network is not None),
    )
    for name, is_set in asked:
        if is_set:
            raise AttributeForbiddenError(f"Only an admin may set '{name}' of a network.")
