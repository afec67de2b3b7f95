"""Which networks and ports of a plan this host can wire, and why not the others. Pure.

A bad network must not take the good ones down, so it is refused alone, with a reason people can act on.
When two networks want the same thing, the one that is on this host already keeps it.
Everything that ends in a rule set or a configuration file is checked here first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from netplug.contract import HostPlan, NetworkPlan, PortPlan, RefusedPort, SubnetPlan, bridge_name, tap_name
from netplug.derived import METADATA_ADDRESS
from netplug.desired import HostFacts, UplinkFact
from netplug.rates import check_rate
from netplug.security import RuleChains
from proto.errors import NetPlugError
from proto.ids import NetworkId

FLAT, FLAT_DHCP = "flat", "flat_dhcp"
PORTS_MAX = 4_096  # of one host; a bridge takes 1,024 (kernel: BR_MAX_PORTS)
NETWORKS_MAX = 1_024
SUBNETS_MAX = 32
ADDRESSES_MAX = 64
RULES_MAX = 1_000
ROUTES_MAX = 20  # option 121 holds 255 octets, a route up to 9
MTU_MIN, MTU_MAX = 68, 65_535  # RFC 791; an IP packet's length field
NO_FILTER = (
    "this kernel cannot show bridged frames to its stateful filter, so security groups would not hold: "
    "load the module br_netfilter"
)

_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    """A subnet with its texts understood."""

    network: IPv4Network | IPv6Network
    gateway: IPv4Address | IPv6Address | None
    enable_dhcp: bool
    dns: tuple[IPv4Address | IPv6Address, ...]
    routes: tuple[tuple[IPv4Network, IPv4Address], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """A network this host wires, with those of its ports that it can wire."""

    plan: NetworkPlan
    subnets: tuple[Subnet, ...]
    uplink: str | None
    ports: tuple[PortPlan, ...]

    @property
    def bridge(self) -> str:
        return bridge_name(self.plan.network_id)

    @property
    def served(self) -> tuple[Subnet, ...]:
        """The IPv4 subnets for which this host has an address on the bridge."""
        return served_subnets(self.plan, self.subnets)


def served_subnets(plan: NetworkPlan, subnets: Iterable[Subnet]) -> tuple[Subnet, ...]:
    if plan.strategy != FLAT_DHCP:
        return ()
    wanted = [item for item in subnets if isinstance(item.network, IPv4Network)]
    return tuple(item for item in wanted if item.gateway or item.enable_dhcp or plan.metadata_port)


def admit(plan: HostPlan, facts: HostFacts) -> tuple[tuple[Admitted, ...], tuple[RefusedPort, ...]]:
    """Sorted by network and port id.

    Raises:
        NetPlugError: the plan as a whole is unusable (too large, ids twice).
    """
    _check_whole(plan)
    refused: list[RefusedPort] = []
    admitted: list[Admitted] = []
    ports_of: dict[NetworkId, list[PortPlan]] = {}
    for port in sorted(plan.ports, key=lambda entry: entry.port_id):
        ports_of.setdefault(port.network_id, []).append(port)
    known = {network.network_id: network for network in plan.networks}
    devices: set[str] = set()
    chains = tuple(RuleChains(family) for family in ("ip", "ip6"))  # only to see that rules can be rendered
    # Those present first: a new network never displaces one that guests use.
    for network_id in sorted(ports_of, key=lambda key: (bridge_name(key) not in facts.bridges_present, key)):
        ports = ports_of[network_id]
        try:
            if network_id not in known:
                raise ValueError(f"network {network_id} is not in the plan")
            network = _admit_network(known[network_id], facts, admitted)
        except ValueError as error:
            refused += [RefusedPort(port_id=port.port_id, reason=str(error)) for port in ports]
            continue
        good, bad = _admit_ports(ports, network, facts, devices, chains)
        refused += bad
        if good:
            admitted.append(
                Admitted(plan=network.plan, subnets=network.subnets, uplink=network.uplink, ports=good)
            )
    admitted.sort(key=lambda entry: entry.plan.network_id)
    refused.sort(key=lambda entry: entry.port_id)
    return tuple(admitted), tuple(refused)


def _check_whole(plan: HostPlan) -> None:
    if len(plan.ports) > PORTS_MAX or len(plan.networks) > NETWORKS_MAX:
        raise NetPlugError(
            f"a host takes at most {PORTS_MAX} ports and {NETWORKS_MAX} networks, "
            f"got {len(plan.ports)} and {len(plan.networks)}"
        )
    if len({port.port_id for port in plan.ports}) != len(plan.ports):
        raise NetPlugError("a port is in the plan twice")
    if len({network.network_id for network in plan.networks}) != len(plan.networks):
        raise NetPlugError("a network is in the plan twice")


def _admit_network(plan: NetworkPlan, facts: HostFacts, admitted: list[Admitted]) -> Admitted:
    if not _IDENTIFIER.fullmatch(plan.network_id):
        raise ValueError(f"{plan.network_id[:64]!r} is not a network id")
    if plan.strategy not in (FLAT, FLAT_DHCP):
        raise ValueError(f"this host does not know the network strategy {plan.strategy[:32]!r}")
    if not MTU_MIN <= plan.mtu <= MTU_MAX:
        raise ValueError(f"mtu {plan.mtu} is not within {MTU_MIN} and {MTU_MAX}")
    if plan.metadata_port is not None and not 1 <= plan.metadata_port <= 65_535:
        raise ValueError(f"metadata port {plan.metadata_port} is not a port number")
    if any(entry.bridge == bridge_name(plan.network_id) for entry in admitted):
        raise ValueError(f"another network has the bridge name {bridge_name(plan.network_id)}")
    if len(plan.subnets) > SUBNETS_MAX:
        raise ValueError(f"a network takes at most {SUBNETS_MAX} subnets")
    subnets = tuple(_subnet(entry) for entry in sorted(plan.subnets, key=lambda entry: entry.cidr))
    for index, subnet in enumerate(subnets):
        if any(_overlap(subnet.network, other.network) for other in subnets[:index]):
            raise ValueError(f"subnet {subnet.network} overlaps another of the same network")
    _check_ranges(plan, subnets, facts, admitted)
    return Admitted(plan=plan, subnets=subnets, uplink=_uplink(plan, facts, admitted), ports=())


def _check_ranges(
    plan: NetworkPlan, subnets: tuple[Subnet, ...], facts: HostFacts, admitted: list[Admitted]
) -> None:
    """All served subnets share one routing table, with each other and with the host's own networks."""
    for subnet in served_subnets(plan, subnets):
        for prefix in facts.host_prefixes:
            if _overlap(subnet.network, ip_network(prefix, strict=False)):
                raise ValueError(f"subnet {subnet.network} overlaps the host's own network {prefix}")
        for other in admitted:
            if any(_overlap(subnet.network, theirs.network) for theirs in other.served):
                raise ValueError(
                    f"subnet {subnet.network} overlaps network {other.plan.network_id}, "
                    "which this host serves already"
                )


def _uplink(plan: NetworkPlan, facts: HostFacts, admitted: list[Admitted]) -> str | None:
    wanted = plan.physical_network
    if wanted is None:
        return None
    fact = next((entry for entry in facts.uplinks if entry.physical_network == wanted), None)
    if fact is None:
        raise ValueError(f"this host has no uplink for the physical network {wanted[:64]!r}")
    _check_uplink(fact, plan, facts)
    user = next((entry for entry in admitted if entry.uplink == fact.device), None)
    if user is not None:
        raise ValueError(
            f"uplink {fact.device} of physical network {wanted!r} carries network "
            f"{user.plan.network_id} already, and takes one untagged network"
        )
    return fact.device


def _check_uplink(fact: UplinkFact, plan: NetworkPlan, facts: HostFacts) -> None:
    if fact.mtu is None:
        raise ValueError(f"uplink {fact.device} of physical network {fact.physical_network!r} does not exist")
    if fact.holder is not None and fact.holder not in facts.bridges_present:
        raise ValueError(f"uplink {fact.device} belongs to {fact.holder}, which is not ours")
    if fact.addresses:
        raise ValueError(
            f"uplink {fact.device} has the address {fact.addresses[0]}: guests need an interface of "
            "their own, the host would lose this one"
        )
    if fact.mtu < plan.mtu:
        raise ValueError(f"uplink {fact.device} has mtu {fact.mtu}, below the network's {plan.mtu}")


def _subnet(plan: SubnetPlan) -> Subnet:
    network = ip_network(_unscoped(plan.cidr))
    gateway = None if plan.gateway_ip is None else ip_address(_unscoped(plan.gateway_ip))
    if gateway is not None and not _is_host(gateway, network):
        raise ValueError(f"gateway {gateway} is not a host address of subnet {network}")
    if len(plan.host_routes) > ROUTES_MAX or len(plan.dns_nameservers) > ROUTES_MAX:
        raise ValueError(f"subnet {network} has more than {ROUTES_MAX} routes or name servers")
    routes: tuple[tuple[IPv4Network, IPv4Address], ...] = ()
    if network.version == 4:
        routes = tuple((IPv4Network(to), IPv4Address(via)) for to, via in plan.host_routes)
    return Subnet(
        network=network,
        gateway=gateway,
        enable_dhcp=plan.enable_dhcp,
        dns=tuple(ip_address(_unscoped(server)) for server in plan.dns_nameservers),
        routes=routes,
    )


def _unscoped(text: str) -> str:
    """A scope id (`fe80::1%anything`) is free text, which must not reach a rule set."""
    if "%" in text:
        raise ValueError(f"{text[:64]!r} has a scope id")
    return text


def _is_host(address: IPv4Address | IPv6Address, network: IPv4Network | IPv6Network) -> bool:
    if address.version != network.version or address not in network:
        return False
    if network.version == 6 or network.prefixlen >= 31:
        return True
    return address not in (network.network_address, network.broadcast_address)


def _overlap(one: IPv4Network | IPv6Network, other: IPv4Network | IPv6Network) -> bool:
    if isinstance(one, IPv4Network) and isinstance(other, IPv4Network):
        return one.overlaps(other)
    return isinstance(one, IPv6Network) and isinstance(other, IPv6Network) and one.overlaps(other)


def _admit_ports(
    ports: list[PortPlan],
    network: Admitted,
    facts: HostFacts,
    devices: set[str],
    chains: tuple[RuleChains, ...],
) -> tuple[tuple[PortPlan, ...], list[RefusedPort]]:
    good: list[PortPlan] = []
    bad: list[RefusedPort] = []
    taken = {str(subnet.gateway) for subnet in network.served if subnet.gateway} | {METADATA_ADDRESS}
    macs: set[str] = set()
    for port in ports:
        try:
            _check_port(port, facts, chains)
            if tap_name(port.port_id) in devices:
                raise ValueError(f"another port has the device name {tap_name(port.port_id)}")
            clash = taken.intersection(port.addresses) or macs.intersection((port.mac,))
            if clash:
                raise ValueError(f"{min(clash)} is taken on network {network.plan.network_id}")
        except ValueError as error:
            bad.append(RefusedPort(port_id=port.port_id, reason=str(error)))
            continue
        taken.update(port.addresses)
        macs.add(port.mac)
        devices.add(tap_name(port.port_id))
        good.append(port)
    return tuple(good), bad


def _check_port(port: PortPlan, facts: HostFacts, chains: tuple[RuleChains, ...]) -> None:
    if not _IDENTIFIER.fullmatch(port.port_id):
        raise ValueError(f"{port.port_id[:64]!r} is not a port id")
    if not _MAC.fullmatch(port.mac) or int(port.mac[:2], 16) & 1:
        raise ValueError(f"{port.mac[:32]!r} is not a unicast MAC in lower case")
    if len(port.addresses) > ADDRESSES_MAX or len(port.rules) > RULES_MAX:
        raise ValueError(f"a port takes at most {ADDRESSES_MAX} addresses and {RULES_MAX} rules")
    for text in port.addresses:
        address = ip_address(_unscoped(text))
        if str(address) != text or address.is_unspecified or address.is_multicast or address.is_loopback:
            raise ValueError(f"{text[:64]!r} is not a guest's address")
    for rate in filter(None, (port.inbound, port.outbound)):
        check_rate(rate)
        if facts.no_shaping:
            raise ValueError(facts.no_shaping)
    if port.port_security and not facts.can_filter:
        raise ValueError(NO_FILTER)
    if port.port_security:
        for of_family in chains:
            for direction in ("ingress", "egress"):
                of_family.chain_for(port.rules, direction)
