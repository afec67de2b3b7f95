"""From what a host should have (`HostPlan`) to what its kernel should hold (`DesiredState`). Pure.

Strategies `flat_dhcp` and `flat`: one bridge for a network on each host that has guests on it. With
`flat_dhcp` each host is gateway, DHCP server, NAT and metadata proxy for its own guests: gateway address
and MAC are the same everywhere, and the uplink's guards (`netplug.bridge_rules`) keep the hosts' gateways
apart.
With `flat` the host only joins guests and uplink; someone outside serves addresses and routes.
IPv6 is carried and filtered, but neither routed nor served: guests learn their address from the config drive.
"""

from __future__ import annotations

from collections.abc import Mapping

from netplug.admission import Admitted, admit
from netplug.bridge_rules import bridge_table
from netplug.contract import HostPlan, PluggedPort, tap_name
from netplug.derived import METADATA_ADDRESS, conntrack_zones, gateway_mac, port_marks
from netplug.desired import Bridge, DesiredState, HostFacts, LinkRoute, Sysctl, Tap
from netplug.dhcp_plan import dhcp_service
from netplug.routed_rules import routed_tables
from proto.ids import NetworkId, PortId


def desired_state(plan: HostPlan, facts: HostFacts) -> DesiredState:
    """Depends on nothing but its arguments, and not on the order inside the plan.

    Raises:
        NetPlugError: the plan as a whole is unusable. A single bad port is refused in the result.
    """
    admitted, refused = admit(plan, facts)
    taps = tuple(sorted((tap for network in admitted for tap in _taps(network)), key=lambda tap: tap.name))
    services = (dhcp_service(network) for network in admitted)
    known = {tap.name for tap in taps}
    return DesiredState(
        bridges=tuple(_bridge(network) for network in admitted),
        taps=taps,
        dhcp=tuple(service for service in services if service is not None),
        sysctls=_sysctls(admitted, taps),
        ruleset=_ruleset(admitted, facts),
        plugged=tuple(PluggedPort(port_id=tap.port_id, device=tap.name) for tap in taps),
        refused=refused,
        cut_off=frozenset(tap_name(entry.port_id) for entry in refused) - known,
    )


def _bridge(network: Admitted) -> Bridge:
    addresses: list[str] = []
    routes: list[LinkRoute] = []
    for subnet in network.served:
        if subnet.gateway is not None:
            addresses.append(f"{subnet.gateway}/{subnet.network.prefixlen}")
        else:
            routes.append(LinkRoute(destination=str(subnet.network), source=METADATA_ADDRESS))
    if routes:
        addresses.append(METADATA_ADDRESS + "/32")
    return Bridge(
        network_id=network.plan.network_id,
        name=network.bridge,
        mac=gateway_mac(network.plan.network_id),
        mtu=network.plan.mtu,
        addresses=tuple(addresses),
        routes=tuple(routes),
        uplink=network.uplink,
    )


def _taps(network: Admitted) -> list[Tap]:
    mtu = network.plan.mtu
    return [
        Tap(
            port_id=port.port_id,
            name=tap_name(port.port_id),
            bridge=network.bridge,
            mtu=mtu,
            inbound=port.inbound,
            outbound=port.outbound,
        )
        for port in network.ports
    ]


def _sysctls(admitted: tuple[Admitted, ...], taps: tuple[Tap, ...]) -> tuple[Sysctl, ...]:
    values: list[Sysctl] = []
    if any(subnet.gateway is not None for network in admitted for subnet in network.served):
        values.append(Sysctl(key="net/ipv4/ip_forward", value="1"))
    for network in admitted:
        # Guests must not get the host's addresses of other interfaces by ARP.
        values.append(Sysctl(key=f"net/ipv4/conf/{network.bridge}/arp_ignore", value="1"))
        values.append(_without_ipv6(network.bridge))
    values += [_without_ipv6(tap.name) for tap in taps]
    return tuple(values)


def _without_ipv6(device: str) -> Sysctl:
    """The host itself speaks no IPv6 to guests, so it believes no router advertisement there either."""
    return Sysctl(key=f"net/ipv6/conf/{device}/disable_ipv6", value="1", optional=True)


def _ruleset(admitted: tuple[Admitted, ...], facts: HostFacts) -> str:
    if not admitted:
        return ""
    marks: Mapping[PortId, int] = port_marks(port.port_id for network in admitted for port in network.ports)
    zones: Mapping[NetworkId, int] = conntrack_zones(network.plan.network_id for network in admitted)
    return bridge_table(admitted, marks) + routed_tables(admitted, marks, zones, facts)
