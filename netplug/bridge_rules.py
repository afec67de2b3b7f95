"""The stateless half of the filter, in the bridge family: who a frame may claim to be from. Pure.

A frame from a guest is checked where it enters its bridge (prerouting, before the bridge learns its MAC):
MAC, ARP sender, IPv4 and IPv6 source, no DHCP or router advertisements from guests, no tagged or other
frames (they would pass the IP filter unseen). Where a frame leaves for a guest it only gets the port's mark,
on which `netplug.routed_rules` decides with connection tracking. An uplink is guarded both ways, so that
gateway, DHCP and metadata, which every host has for its own guests, never meet another host's.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv6Address

from netplug.admission import FLAT_DHCP, Admitted
from netplug.contract import PortPlan, tap_name
from netplug.derived import METADATA_ADDRESS, gateway_mac, link_local
from netplug.nft_text import chain, named_map, named_set, quoted, table
from proto.ids import PortId

TABLE = "fabric"
RARP = "0x8035"  # what QEMU announces a migrated guest with
BEFORE_ALL, BEFORE_BR_NETFILTER = -300, -200


def bridge_table(admitted: tuple[Admitted, ...], marks: Mapping[PortId, int]) -> str:
    secure = [port for network in admitted for port in network.ports if port.port_security]
    uplinks = [network for network in admitted if network.uplink is not None]
    guarded = [network for network in uplinks if network.plan.strategy == FLAT_DHCP]
    parts = [
        *_sets(admitted, secure, marks),
        _arrival_chain(guarded),
        *_guest_chains(secure),
        _forward_chain(guarded),
        chain("to_guest", TO_GUEST),
    ]
    for network in guarded:
        parts += _uplink_chains(network)
    if uplinks:
        # Whatever the host itself says on a bridge is for its own guests.
        own = [f"oifname {quoted(network.uplink or '')} drop" for network in uplinks]
        parts.append(chain("output", own, f"filter hook output priority {BEFORE_BR_NETFILTER}"))
    return table("bridge", TABLE, parts)


def _sets(
    admitted: tuple[Admitted, ...], secure: list[PortPlan], marks: Mapping[PortId, int]
) -> list[list[str]]:
    taps = {port.port_id: quoted(tap_name(port.port_id)) for port in secure}
    served = [network for network in admitted if any(subnet.enable_dhcp for subnet in network.served)]
    ours = [quoted(tap_name(port.port_id)) for network in served for port in network.ports]
    six = [port for port in secure if spoken_addresses6(port)]
    return [
        named_set("secure", "ifname", taps.values()),
        named_set("served", "ifname", ours),
        named_set("speaks_ipv6", "ifname", (taps[port.port_id] for port in six)),
        named_set("macs", "ifname . ether_addr", (f"{taps[port.port_id]} . {port.mac}" for port in secure)),
        named_set(
            "addresses4",
            "ifname . ipv4_addr",
            (
                f"{taps[p.port_id]} . {address}"
                for p in secure
                for address in p.addresses
                if ":" not in address
            ),
        ),
        named_set(
            "addresses6",
            "ifname . ipv6_addr",
            (f"{taps[port.port_id]} . {address}" for port in six for address in spoken_addresses6(port)),
        ),
        named_map("marks", "ifname : mark", {taps[p.port_id]: f"{marks[p.port_id]:#010x}" for p in secure}),
    ]


def spoken_addresses6(port: PortPlan) -> list[str]:
    """With the link-local address neighbour discovery speaks from. Empty: the port may not use IPv6."""
    six = [address for address in port.addresses if ":" in address]
    return [*six, link_local(port.mac)] if six else []


def _arrival_chain(guarded: list[Admitted]) -> list[str]:
    rules = ["iifname @secure goto from_guest"]
    rules += [f"iifname {quoted(entry.uplink or '')} goto from_{_suffix(entry)}" for entry in guarded]
    return chain("prerouting", rules, f"filter hook prerouting priority {BEFORE_ALL}")


FROM_GUEST = (
    "iifname . ether saddr != @macs drop",
    f"ether type {RARP} accept",
    "ether type vmap { ip : goto ip_from_guest, arp : goto arp_from_guest, ip6 : goto ip6_from_guest }",
    "drop",
)
ARP_FROM_GUEST = (
    "arp htype != 1 drop",
    "iifname . arp saddr ether != @macs drop",
    "arp operation request arp saddr ip 0.0.0.0 accept",  # a probe (RFC 5227)
    "iifname . arp saddr ip != @addresses4 drop",
)
IP_FROM_GUEST = (
    "udp sport 67 drop",
    "ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept",
    "iifname . ip saddr != @addresses4 drop",
)
IP6_FROM_GUEST = (
    "iifname != @speaks_ipv6 drop",
    "icmpv6 type { nd-router-advert, nd-redirect } drop",
    "udp sport 547 drop",
    "ip6 saddr :: icmpv6 type { nd-neighbor-solicit, mld2-listener-report } accept",
    "iifname . ip6 saddr != @addresses6 drop",
)
TO_GUEST = (
    "ether type arp accept",
    "ether type { ip, ip6 } meta mark set oifname map @marks accept",
    "drop",
)


def _guest_chains(secure: list[PortPlan]) -> list[list[str]]:
    claims = []
    for port in secure:
        if six := spoken_addresses6(port):
            targets = ", ".join(f"{int(IPv6Address(address)):#034x}" for address in six)
            tap = quoted(tap_name(port.port_id))
            claims.append(f"iifname {tap} icmpv6 type nd-neighbor-advert @th,64,128 != {{ {targets} }} drop")
    return [
        chain("from_guest", FROM_GUEST),
        chain("arp_from_guest", ARP_FROM_GUEST),
        chain("ip_from_guest", IP_FROM_GUEST),
        chain("ip6_from_guest", [*IP6_FROM_GUEST, *claims]),
    ]


def _forward_chain(guarded: list[Admitted]) -> list[str]:
    rules = [f"oifname {quoted(entry.uplink or '')} goto to_{_suffix(entry)}" for entry in guarded]
    # Requests for an address are for this host's own server only.
    rules += ["iifname @served ether type ip udp dport 67 drop", "oifname @secure goto to_guest"]
    return chain("forward", rules, f"filter hook forward priority {BEFORE_BR_NETFILTER}")


def _uplink_chains(network: Admitted) -> list[list[str]]:
    mac = gateway_mac(network.plan.network_id)
    kept = {str(subnet.gateway) for subnet in network.served if subnet.gateway} | {METADATA_ADDRESS}
    addresses = ", ".join(sorted(kept))
    rules = [
        f"ether saddr {mac} drop",
        f"ether daddr {mac} drop",
        f"arp saddr ip {{ {addresses} }} drop",
        f"arp daddr ip {{ {addresses} }} drop",
        f"ip saddr {{ {addresses} }} drop",
        f"ip daddr {{ {addresses} }} drop",
        "ether type ip udp sport { 67, 68 } drop",
        "ether type ip udp dport { 67, 68 } drop",
    ]
    return [chain(f"from_{_suffix(network)}", rules), chain(f"to_{_suffix(network)}", rules)]


def _suffix(network: Admitted) -> str:
    return "uplink_of_" + network.bridge.replace("-", "_")
