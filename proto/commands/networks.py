"""Networks, subnets, ports, security groups."""

from __future__ import annotations

from dataclasses import dataclass

from proto.commands.base import Command, command
from proto.ids import NetworkId, PortId, ProjectId, SecurityGroupId, SecurityGroupRuleId, SubnetId


@dataclass(frozen=True, slots=True)
class FixedIpChoice:
    subnet_id: SubnetId
    address: str


@dataclass(frozen=True, slots=True)
class AllocationPool:
    start: str
    end: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityRuleSpec:
    """One allow rule. None means "any"."""

    rule_id: SecurityGroupRuleId
    direction: str  # "ingress" or "egress"
    ethertype: str = "IPv4"  # or "IPv6"
    protocol: str | None = None  # "tcp", "udp", "icmp", ... or a number as text
    port_min: int | None = None  # for icmp: type
    port_max: int | None = None  # for icmp: code
    remote_cidr: str | None = None
    remote_group_id: SecurityGroupId | None = None
    description: str = ""


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkCreate(Command):
    KIND = "network.create"
    network_id: NetworkId
    project_id: ProjectId
    name: str
    description: str = ""
    strategy: str = "flat_dhcp"  # flat, flat_dhcp; vlan and vxlan come later
    physical_network: str | None = None  # which host uplink it rides on; None: local to each host, NAT only
    admin_state_up: bool = True
    shared: bool = False
    external: bool = False
    mtu: int = 1500
    port_security_enabled: bool = True


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkUpdate(Command):
    KIND = "network.update"
    network_id: NetworkId
    name: str | None = None
    description: str | None = None
    admin_state_up: bool | None = None
    shared: bool | None = None
    external: bool | None = None
    mtu: int | None = None


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkDelete(Command):
    """Rejected `in_use` while a port remains. Takes its subnets with it."""

    KIND = "network.delete"
    network_id: NetworkId


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class SubnetCreate(Command):
    """Rejected `conflict` when the range overlaps another subnet of the network."""

    KIND = "subnet.create"
    subnet_id: SubnetId
    network_id: NetworkId
    project_id: ProjectId
    name: str
    cidr: str
    gateway_ip: str | None
    enable_dhcp: bool = True
    dns_nameservers: tuple[str, ...] = ()
    pools: tuple[AllocationPool, ...] = ()
    host_routes: tuple[str, ...] = ()  # "destination via nexthop"
    ip_version: int = 4
    description: str = ""


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class SubnetUpdate(Command):
    KIND = "subnet.update"
    subnet_id: SubnetId
    name: str | None = None
    description: str | None = None
    gateway_ip: str | None = None
    enable_dhcp: bool | None = None
    dns_nameservers: tuple[str, ...] | None = None


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class SubnetDelete(Command):
    """Rejected `in_use` while a port has an address of it."""

    KIND = "subnet.delete"
    subnet_id: SubnetId


@dataclass(frozen=True, slots=True, kw_only=True)
class PortSpec:
    """A port to make, every choice made by the proposer."""

    port_id: PortId
    network_id: NetworkId
    project_id: ProjectId
    mac: str
    fixed_ips: tuple[FixedIpChoice, ...]
    security_group_ids: tuple[SecurityGroupId, ...] = ()
    name: str = ""
    description: str = ""
    device_id: str = ""
    device_owner: str = ""
    admin_state_up: bool = True
    port_security_enabled: bool = True


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class PortCreate(Command):
    """Rejected `address_taken`, `mac_taken` (draw another and propose again), `conflict` (the id),
    `not_found`, `quota`."""

    KIND = "port.create"
    port: PortSpec


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class PortUpdate(Command):
    KIND = "port.update"
    port_id: PortId
    name: str | None = None
    description: str | None = None
    admin_state_up: bool | None = None
    security_group_ids: tuple[SecurityGroupId, ...] | None = None
    device_id: str | None = None
    device_owner: str | None = None


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class PortDelete(Command):
    """Rejected `in_use` while a server owns it (detach or delete the server)."""

    KIND = "port.delete"
    port_id: PortId


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityGroupCreate(Command):
    """`is_default` groups are made once a project (rejected `conflict` the second time)."""

    KIND = "security_group.create"
    security_group_id: SecurityGroupId
    project_id: ProjectId
    name: str
    description: str = ""
    is_default: bool = False
    rules: tuple[SecurityRuleSpec, ...] = ()


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityGroupUpdate(Command):
    KIND = "security_group.update"
    security_group_id: SecurityGroupId
    name: str | None = None
    description: str | None = None


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityGroupDelete(Command):
    """Rejected `in_use` while a port names it."""

    KIND = "security_group.delete"
    security_group_id: SecurityGroupId


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityRuleCreate(Command):
    """Rejected `conflict` when the group already has an equal rule."""

    KIND = "security_rule.create"
    security_group_id: SecurityGroupId
    rule: SecurityRuleSpec


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityRuleDelete(Command):
    KIND = "security_rule.delete"
    rule_id: SecurityGroupRuleId
