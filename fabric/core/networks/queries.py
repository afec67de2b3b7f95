"""What may be asked about networks. `visible_to` None: all projects (admin)."""

from __future__ import annotations

from dataclasses import dataclass

from fabric.core.networks.model import Network, Port, SecurityGroup, SecurityRule, Subnet
from fabric.core.queries import Query
from proto.ids import NetworkId, PortId, ProjectId, SecurityGroupId, SecurityGroupRuleId, SubnetId


@dataclass(frozen=True, slots=True, kw_only=True)
class GetNetwork(Query[Network | None]):
    network_id: NetworkId


@dataclass(frozen=True, slots=True, kw_only=True)
class ListNetworks(Query[tuple[Network, ...]]):
    """Own and shared networks, oldest first. The API filters further in memory: networks are few."""

    visible_to: ProjectId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetSubnet(Query[Subnet | None]):
    subnet_id: SubnetId


@dataclass(frozen=True, slots=True, kw_only=True)
class ListSubnets(Query[tuple[Subnet, ...]]):
    """Subnets of own and shared networks, oldest first."""

    visible_to: ProjectId | None = None
    network_id: NetworkId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetPort(Query[Port | None]):
    port_id: PortId


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPorts(Query[tuple[Port, ...]]):
    visible_to: ProjectId | None = None
    network_id: NetworkId | None = None
    device_id: str | None = None
    port_ids: tuple[PortId, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedAddresses(Query[tuple[str, ...]]):
    """Addresses of a subnet that a port holds."""

    subnet_id: SubnetId


@dataclass(frozen=True, slots=True, kw_only=True)
class GetSecurityGroup(Query[SecurityGroup | None]):
    security_group_id: SecurityGroupId


@dataclass(frozen=True, slots=True, kw_only=True)
class ListSecurityGroups(Query[tuple[SecurityGroup, ...]]):
    visible_to: ProjectId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetSecurityRule(Query[SecurityRule | None]):
    rule_id: SecurityGroupRuleId
