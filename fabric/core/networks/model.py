"""Networks, subnets, ports and security groups as rows know them."""

from __future__ import annotations

from dataclasses import dataclass

from proto.commands.networks import AllocationPool, FixedIpChoice
from proto.ids import NetworkId, NodeId, PortId, ProjectId, SecurityGroupId, SecurityGroupRuleId, SubnetId


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    subnet_id: SubnetId
    network_id: NetworkId
    project_id: ProjectId
    name: str
    description: str
    cidr: str
    gateway_ip: str | None
    enable_dhcp: bool
    dns_nameservers: tuple[str, ...]
    pools: tuple[AllocationPool, ...]
    host_routes: tuple[str, ...]
    ip_version: int
    created_ms: int
    updated_ms: int
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    network_id: NetworkId
    project_id: ProjectId
    name: str
    description: str
    strategy: str
    physical_network: str | None
    admin_state_up: bool
    shared: bool
    external: bool
    mtu: int
    port_security_enabled: bool
    subnet_ids: tuple[SubnetId, ...]
    created_ms: int
    updated_ms: int
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    port_id: PortId
    network_id: NetworkId
    network_name: str
    project_id: ProjectId
    name: str
    description: str
    mac: str
    fixed_ips: tuple[FixedIpChoice, ...]
    security_group_ids: tuple[SecurityGroupId, ...]
    device_id: str  # the server's id, or ""
    device_owner: str
    host_id: NodeId | None
    host_name: str | None
    status: str  # ACTIVE, DOWN, BUILD
    admin_state_up: bool
    port_security_enabled: bool
    made_for_server: bool  # goes when the server goes
    created_ms: int
    updated_ms: int
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityRule:
    rule_id: SecurityGroupRuleId
    security_group_id: SecurityGroupId
    project_id: ProjectId
    direction: str
    ethertype: str
    protocol: str | None
    port_min: int | None
    port_max: int | None
    remote_cidr: str | None
    remote_group_id: SecurityGroupId | None
    description: str
    created_ms: int
    updated_ms: int
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityGroup:
    security_group_id: SecurityGroupId
    project_id: ProjectId
    name: str
    description: str
    is_default: bool
    rules: tuple[SecurityRule, ...]
    created_ms: int
    updated_ms: int
    revision: int
