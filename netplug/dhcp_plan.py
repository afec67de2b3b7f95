"""What one network's dnsmasq is told: DHCP for this host's own guests, by their MAC, and nothing else. Pure.

Paths (hosts file, leases, pid file) are not part of it; `netplug.dnsmasq` passes them as arguments.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from netplug.admission import PORTS_MAX, Admitted, Subnet
from netplug.contract import PortPlan
from netplug.derived import METADATA_ADDRESS, hostname_label
from netplug.desired import DhcpService

LEASE_S = 86_400
LEASES_MAX = 2 * PORTS_MAX  # never the limit: guests that left are in it for a moment
ON_LINK = "0.0.0.0"  # noqa: S104  next hop of a directly reachable destination (RFC 3442)


def dhcp_service(network: Admitted) -> DhcpService | None:
    """None when the network has no subnet with DHCP."""
    ranges = [subnet for subnet in network.served if subnet.enable_dhcp]
    if not ranges:
        return None
    lines = [
        f"# network {network.plan.network_id}",
        "port=0",
        f"interface={network.bridge}",
        "except-interface=lo",
        "bind-interfaces",
        "no-resolv",
        "no-hosts",
        "no-ping",
        "dhcp-authoritative",
        "dhcp-no-override",
        "quiet-dhcp",
        "user=root",
        f"dhcp-lease-max={LEASES_MAX}",
        f"dhcp-option-force=option:mtu,{network.plan.mtu}",
    ]
    for index, subnet in enumerate(ranges):
        lines += _range_lines(network, subnet, f"subnet{index}")
    leases = [(port, address) for port in network.ports if (address := _dhcp_address(port, ranges))]
    return DhcpService(
        bridge=network.bridge,
        config="\n".join(lines) + "\n",
        hosts="".join(
            f"{port.mac},{address},{hostname_label(port.hostname, address)}\n" for port, address in leases
        ),
        leases=frozenset((port.mac, address) for port, address in leases),
    )


def _range_lines(network: Admitted, subnet: Subnet, tag: str) -> list[str]:
    assert isinstance(subnet.network, IPv4Network)
    first, mask = subnet.network.network_address, subnet.network.netmask
    lines = [f"dhcp-range=set:{tag},{first},static,{mask},{LEASE_S}"]
    if subnet.gateway is None:
        # The host's only address here is the metadata one, outside the range.
        lines.append(f"shared-network={network.bridge},{first}")
    router = "" if subnet.gateway is None else f",{subnet.gateway}"
    lines.append(f"dhcp-option=tag:{tag},option:router{router}")
    servers = "".join(f",{server}" for server in subnet.dns if isinstance(server, IPv4Address))
    lines.append(f"dhcp-option=tag:{tag},option:dns-server{servers}")
    routes = _classless_routes(network, subnet)
    if routes:
        # Who understands 121 ignores the router option (RFC 3442), so the default route is in it, too.
        # 249 is the same under the number older Windows asks for.
        lines.append(f"dhcp-option-force=tag:{tag},121,{routes}")
        lines.append(f"dhcp-option=tag:{tag},249,{routes}")
    return lines


def _classless_routes(network: Admitted, subnet: Subnet) -> str:
    hops = [(str(to), str(via)) for to, via in subnet.routes]
    if network.plan.metadata_port is not None and all(to != METADATA_ADDRESS + "/32" for to, _ in hops):
        hops.append((METADATA_ADDRESS + "/32", str(subnet.gateway or ON_LINK)))
    if subnet.gateway is not None and all(to != "0.0.0.0/0" for to, _ in hops):
        hops.append(("0.0.0.0/0", str(subnet.gateway)))
    return ",".join(f"{to},{via}" for to, via in hops)


def _dhcp_address(port: PortPlan, ranges: list[Subnet]) -> str | None:
    """DHCP gives a MAC one address: the port's first in a subnet with DHCP."""
    for address in port.addresses:
        if ":" not in address and any(IPv4Address(address) in subnet.network for subnet in ranges):
            return address
    return None
