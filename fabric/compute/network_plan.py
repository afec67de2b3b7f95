"""Rows to a network plan. Pure; equal rows give equal plans."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import lru_cache
from ipaddress import ip_address

from fabric.core.networks.model import Port, SecurityGroup, SecurityRule, Subnet
from fabric.core.servers.guest_limits import NONE, GuestLimits, LimitsError, VifLimit, guest_limits
from fabric.core.servers.model import AssignedServer, NetworkForHost
from netplug.contract import HostPlan, NetworkPlan, PortPlan, RatePlan, RulePlan, SubnetPlan
from proto.ids import NetworkId, SecurityGroupId

ADDRESSES_REMEMBERED_MAX = 8_192  # members of remote groups, met again in every plan
_VERSION_OF = {"IPv4": 4, "IPv6": 6}


def host_plan(
    servers: Iterable[AssignedServer],
    *,
    security_groups: Iterable[SecurityGroup],
    group_addresses: Mapping[str, tuple[str, ...]],
    metadata_ports: Mapping[str, int],
) -> HostPlan:
    """The plan for exactly these servers: their ports, and the networks those are on."""
    rules_of = _RuleBook(security_groups, group_addresses)
    networks: dict[str, NetworkPlan] = {}
    ports: list[PortPlan] = []
    for assigned in servers:
        for network in assigned.networks:
            if network.network_id not in networks:
                metadata_port = metadata_ports.get(network.network_id)
                networks[network.network_id] = network_plan(network, metadata_port)
        limits = _limits(assigned)
        for port in assigned.ports:
            ports.append(port_plan(assigned, port, rules_of.port(port), limits))
    return HostPlan(
        networks=tuple(networks[network_id] for network_id in sorted(networks)),
        ports=tuple(sorted(ports, key=lambda plan: plan.port_id)),
    )


def network_plan(network: NetworkForHost, metadata_port: int | None) -> NetworkPlan:
    return NetworkPlan(
        network_id=NetworkId(network.network_id),
        strategy=network.strategy,
        physical_network=network.physical_network,
        mtu=network.mtu,
        subnets=tuple(
            _subnet_plan(subnet) for subnet in sorted(network.subnets, key=lambda entry: entry.subnet_id)
        ),
        metadata_port=metadata_port,
    )


def _subnet_plan(subnet: Subnet) -> SubnetPlan:
    return SubnetPlan(
        cidr=subnet.cidr,
        gateway_ip=subnet.gateway_ip,
        enable_dhcp=subnet.enable_dhcp,
        dns_nameservers=subnet.dns_nameservers,
        host_routes=host_routes(subnet),
    )


def host_routes(subnet: Subnet) -> tuple[tuple[str, str], ...]:
    """(destination, next hop) of each "destination via nexthop"."""
    routes = []
    for text in subnet.host_routes:
        destination, via, next_hop = text.partition(" via ")
        if via:
            routes.append((destination.strip(), next_hop.strip()))
    return tuple(routes)


class _RuleBook:
    """Rules of each combination of groups, made once: a group may name thousands of addresses, and every
    port of a project may name the group."""

    def __init__(
        self, groups: Iterable[SecurityGroup], group_addresses: Mapping[str, tuple[str, ...]]
    ) -> None:
        self._groups = {group.security_group_id: group for group in groups}
        self._addresses = group_addresses
        self._of_group: dict[SecurityGroupId, frozenset[RulePlan]] = {}
        self._of_groups: dict[tuple[SecurityGroupId, ...], tuple[RulePlan, ...]] = {}

    def port(self, port: Port) -> tuple[RulePlan, ...]:
        """None at all for a port that is administratively down, or whose groups are unknown."""
        if not port.admin_state_up:
            return ()
        key = port.security_group_ids
        if key not in self._of_groups:
            rules = frozenset[RulePlan]().union(*(self._group(group_id) for group_id in key))
            self._of_groups[key] = tuple(sorted(rules, key=repr))
        return self._of_groups[key]

    def _group(self, group_id: SecurityGroupId) -> frozenset[RulePlan]:
        if group_id not in self._of_group:
            group = self._groups.get(group_id)
            rules = group.rules if group is not None else ()
            self._of_group[group_id] = frozenset(rule_plan(rule, self._addresses) for rule in rules)
        return self._of_group[group_id]


def _limits(assigned: AssignedServer) -> GuestLimits:
    """None where they make no sense: a build refuses those, and a guest that was there before anybody asked
    keeps its ports."""
    try:
        return guest_limits(assigned.server.flavor.extra_specs)
    except LimitsError:
        return NONE


def _rate_plan(limit: VifLimit | None) -> RatePlan | None:
    return None if limit is None else RatePlan(**asdict(limit))


def port_plan(
    assigned: AssignedServer, port: Port, rules: tuple[RulePlan, ...], limits: GuestLimits = NONE
) -> PortPlan:
    """A port that is administratively down keeps its device and its guards, whatever its security."""
    return PortPlan(
        port_id=port.port_id,
        server_id=assigned.server.server_id,
        network_id=port.network_id,
        mac=port.mac,
        addresses=tuple(fixed.address for fixed in port.fixed_ips),
        hostname=assigned.server.hostname,
        rules=rules,
        port_security=port.port_security_enabled or not port.admin_state_up,
        inbound=_rate_plan(limits.inbound),
        outbound=_rate_plan(limits.outbound),
    )


def rule_plan(rule: SecurityRule, group_addresses: Mapping[str, tuple[str, ...]]) -> RulePlan:
    """A remote group nobody told us the addresses of is nowhere, not anywhere."""
    remote: tuple[str, ...] | None = None
    if rule.remote_group_id is not None:
        remote = _single_addresses(group_addresses.get(rule.remote_group_id, ()), rule.ethertype)
    elif rule.remote_cidr is not None:
        remote = (rule.remote_cidr,)
    return RulePlan(
        direction=rule.direction,
        ethertype=rule.ethertype,
        protocol=rule.protocol,
        port_min=rule.port_min,
        port_max=rule.port_max,
        remote_cidrs=remote,
    )


def _single_addresses(addresses: Iterable[str], ethertype: str) -> tuple[str, ...]:
    wanted = _VERSION_OF[ethertype]
    parsed = {_single_address(text) for text in addresses}
    return tuple(cidr for version, _, cidr in sorted(parsed) if version == wanted)


@lru_cache(maxsize=ADDRESSES_REMEMBERED_MAX)
def _single_address(text: str) -> tuple[int, int, str]:
    """Its version, its number, and itself as a range."""
    address = ip_address(text)
    return address.version, int(address), f"{address}/{address.max_prefixlen}"
