"""The stateful half of the filter, NAT and the metadata redirect, in the ip and ip6 families. Pure.

Bridges hand their frames to these chains (br_netfilter, switched on for each bridge of ours), because the
bridge family of some kernels has no connection tracking. A packet's two guests are found so:
  sender    interface and source address, which the bridge half has made sure of;
  receiver  the mark set on the way to its tap when bridged, interface and destination when routed.
Packets of a connection's original direction face the rules every time, so a rule taken away stops what runs;
only replies pass by state. The host's own packets to guests go through output and are not filtered.

The host is closed to guests but for DHCP, metadata and pings to the gateway. So are, on the host's own
networks, the ports its neighbours manage each other by: guests are routed there under the host's address,
which must not open doors to them. Networks do not reach each other through the host.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, collapse_addresses, ip_network

from netplug.admission import Admitted
from netplug.bridge_rules import TABLE, spoken_addresses6
from netplug.contract import PortPlan
from netplug.derived import METADATA_ADDRESS, gateway_mac
from netplug.desired import HostFacts
from netplug.nft_text import chain, named_map, named_set, quoted, table
from netplug.security import RuleChains
from proto.ids import NetworkId, PortId

# Neighbour and multicast discovery, without which IPv6 does not work (RFC 4890, section 4.4.1).
DISCOVERY = "{ 130, 131, 132, 133, 134, 135, 136, 143 }"
RAW, FILTER, DSTNAT, SRCNAT = -300, 0, -100, 100


def routed_tables(
    admitted: tuple[Admitted, ...],
    marks: Mapping[PortId, int],
    zones: Mapping[NetworkId, int],
    facts: HostFacts,
) -> str:
    return _ip_table(admitted, marks, zones, _closed(facts)) + _ip6_table(admitted, marks, zones)


def _ip_table(
    admitted: tuple[Admitted, ...],
    marks: Mapping[PortId, int],
    zones: Mapping[NetworkId, int],
    closed: Iterable[str],
) -> str:
    chains = RuleChains("ip")
    maps = _port_maps(admitted, marks, chains, "ipv4_addr")
    routed = [entry for entry in admitted if any(subnet.gateway for subnet in entry.served)]
    forward = [
        *NOT_OURS,
        "iifname @bridges oifname != @bridges iifname != @routed drop",
        "oifname @bridges iifname != @bridges oifname != @routed drop",
        *closed,
        *STATE,
        "iifname . oifname @bridged udp sport 67 udp dport 68 accept",
        "iifname . ip saddr vmap @senders",
        *_receiver("ip"),
    ]
    parts = [
        *_bridge_sets(admitted),
        named_set("routed", "ifname", (quoted(entry.bridge) for entry in routed)),
        *_host_sets(admitted),
        *(chain(name, body) for name, body in sorted(chains.bodies.items())),
        *maps,
        _zone_chain(admitted, zones),
        chain("prerouting_nat", _redirects(admitted), f"nat hook prerouting priority {DSTNAT}"),
        chain("input", INPUT, f"filter hook input priority {FILTER}"),
        chain("from_guest", FROM_GUEST),
        chain("forward", forward, f"filter hook forward priority {FILTER}"),
        *_receiver_chain(),
        chain("postrouting_nat", _masquerades(routed), f"nat hook postrouting priority {SRCNAT}"),
    ]
    return table("ip", TABLE, parts)


def _ip6_table(
    admitted: tuple[Admitted, ...], marks: Mapping[PortId, int], zones: Mapping[NetworkId, int]
) -> str:
    chains = RuleChains("ip6")
    maps = _port_maps(admitted, marks, chains, "ipv6_addr")
    forward = [
        *NOT_OURS,
        "iifname @bridges oifname != @bridges drop",
        "oifname @bridges iifname != @bridges drop",
        f"icmpv6 type {DISCOVERY} accept",
        *STATE,
        "iifname . ip6 saddr vmap @senders",
        *_receiver("ip6"),
    ]
    parts = [
        *_bridge_sets(admitted),
        *(chain(name, body) for name, body in sorted(chains.bodies.items())),
        *maps,
        _zone_chain(admitted, zones),
        chain("input", ["iifname @bridges drop"], f"filter hook input priority {FILTER}"),
        chain("forward", forward, f"filter hook forward priority {FILTER}"),
        *_receiver_chain(),
    ]
    return table("ip6", TABLE, parts)


NOT_OURS = (
    "iifname != @bridges oifname != @bridges accept",
    "iifname @bridges oifname @bridges iifname . oifname != @bridged drop",
)
STATE = ("ct state established ct direction reply accept", "ct state related accept")
INPUT = (
    "iifname @bridges goto from_guest",
    'iifname != "lo" tcp dport @metadata_ports ct state new drop',
)
FROM_GUEST = (
    "ct state established,related accept",
    "iifname @dhcp udp sport 68 udp dport 67 accept",
    f"iifname . tcp dport @metadata ct original ip daddr {METADATA_ADDRESS} accept",
    "iifname . ip saddr vmap @senders",
    "icmp type echo-request iifname . ip daddr @gateways accept",
    "drop",
)


def _closed(facts: HostFacts) -> list[str]:
    if not facts.closed_ports:
        return []
    ports = ", ".join(str(port) for port in sorted(set(facts.closed_ports)))
    prefixes = (ip_network(prefix, strict=False) for prefix in facts.host_prefixes)
    networks = sorted(collapse_addresses(item for item in prefixes if isinstance(item, IPv4Network)))
    return [
        f"iifname @bridges oifname != @bridges ip daddr {network} tcp dport {{ {ports} }} drop"
        for network in networks
    ]


def _receiver(family: str) -> list[str]:
    return [
        "iifname . oifname @bridged meta mark != 0 goto to_marked",
        f"oifname . {family} daddr vmap @receivers",
    ]


def _receiver_chain() -> list[list[str]]:
    # A mark without a port: the frame was marked just before its port left.
    return [chain("to_marked", ["meta mark vmap @marked", "drop"])]


def _bridge_sets(admitted: tuple[Admitted, ...]) -> list[list[str]]:
    names = [quoted(entry.bridge) for entry in admitted]
    return [
        named_set("bridges", "ifname", names),
        named_set("bridged", "ifname . ifname", (f"{name} . {name}" for name in names)),
    ]


def _host_sets(admitted: tuple[Admitted, ...]) -> list[list[str]]:
    listeners = [
        (quoted(entry.bridge), entry.plan.metadata_port) for entry in admitted if _has_metadata(entry)
    ]
    served = [entry for entry in admitted if any(subnet.enable_dhcp for subnet in entry.served)]
    gateways = [
        f"{quoted(entry.bridge)} . {subnet.gateway}"
        for entry in admitted
        for subnet in entry.served
        if subnet.gateway
    ]
    return [
        named_set("dhcp", "ifname", (quoted(entry.bridge) for entry in served)),
        named_set("gateways", "ifname . ipv4_addr", gateways),
        named_set("metadata", "ifname . inet_service", (f"{name} . {port}" for name, port in listeners)),
        named_set("metadata_ports", "inet_service", (str(port) for _, port in listeners)),
    ]


def _has_metadata(network: Admitted) -> bool:
    return network.plan.metadata_port is not None and bool(network.served)


def _port_maps(
    admitted: tuple[Admitted, ...], marks: Mapping[PortId, int], chains: RuleChains, kind: str
) -> list[list[str]]:
    senders: dict[str, str] = {}
    receivers: dict[str, str] = {}
    marked: dict[str, str] = {}
    for network in admitted:
        for port in network.ports:
            if not port.port_security:
                continue
            out, into = chains.chain_for(port.rules, "egress"), chains.chain_for(port.rules, "ingress")
            marked[f"{marks[port.port_id]:#010x}"] = f"goto {into}"
            for address in _spoken(port, kind):
                place = f"{quoted(network.bridge)} . {address}"
                senders[place], receivers[place] = f"jump {out}", f"jump {into}"
    return [
        named_map("senders", f"ifname . {kind} : verdict", senders),
        named_map("receivers", f"ifname . {kind} : verdict", receivers),
        named_map("marked", "mark : verdict", marked),
    ]


def _spoken(port: PortPlan, kind: str) -> Iterable[str]:
    if kind == "ipv6_addr":
        return spoken_addresses6(port)
    return (address for address in port.addresses if ":" not in address)


def _zone_chain(admitted: tuple[Admitted, ...], zones: Mapping[NetworkId, int]) -> list[str]:
    """Only frames that stay on the bridge: what is for the host itself meets NAT, in the host's own zone."""
    rules = [
        f"iifname {quoted(entry.bridge)} ether daddr != {gateway_mac(entry.plan.network_id)} "
        f"ct zone set {zones[entry.plan.network_id]}"
        for entry in admitted
    ]
    return chain("prerouting_raw", rules, f"filter hook prerouting priority {RAW}")


def _redirects(admitted: tuple[Admitted, ...]) -> list[str]:
    return [
        f"iifname {quoted(entry.bridge)} ip daddr {METADATA_ADDRESS} tcp dport 80 "
        f"redirect to :{entry.plan.metadata_port}"
        for entry in admitted
        if _has_metadata(entry)
    ]


def _masquerades(routed: list[Admitted]) -> list[str]:
    return [
        f"ip saddr {subnet.network} oifname != {quoted(entry.bridge)} masquerade"
        for entry in routed
        for subnet in entry.served
        if subnet.gateway
    ]
