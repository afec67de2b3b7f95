"""What a network plug promises. Desired state in, end state out; idempotent; foreign things untouched.

The whole desired state of the host is given each time, so nothing can be forgotten: what is ours in the
kernel and not wanted any more goes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from proto.errors import NetPlugError
from proto.ids import NetworkId, PortId, ServerId

REFUSALS_SHOWN_MAX = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class SubnetPlan:
    cidr: str
    gateway_ip: str | None
    enable_dhcp: bool
    dns_nameservers: tuple[str, ...] = ()
    host_routes: tuple[tuple[str, str], ...] = ()  # (destination cidr, next hop)


@dataclass(frozen=True, slots=True, kw_only=True)
class RulePlan:
    """An allow rule with remote groups already resolved to addresses. None: any."""

    direction: str  # ingress, egress
    ethertype: str  # IPv4, IPv6
    protocol: str | None = None
    port_min: int | None = None
    port_max: int | None = None
    remote_cidrs: tuple[str, ...] | None = None  # None: anywhere; (): nowhere


@dataclass(frozen=True, slots=True, kw_only=True)
class RatePlan:
    """How fast one way of a port may be. A burst of `burst_kb` may go at `peak_kb_s`, or as fast as the link
    can where no peak is said; a burst of 0 is as little as need be. Units as libvirt's: those of `tc`."""

    average_kb_s: int  # 1,000 bytes a second
    peak_kb_s: int = 0
    burst_kb: int = 0  # 1,024 bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PortPlan:
    port_id: PortId
    server_id: ServerId
    network_id: NetworkId
    mac: str
    addresses: tuple[str, ...]  # fixed IPs
    hostname: str  # for DHCP option 12
    rules: tuple[RulePlan, ...] = ()
    port_security: bool = True  # False: no anti-spoofing, no filtering
    inbound: RatePlan | None = None  # into the guest; None: as fast as it goes
    outbound: RatePlan | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkPlan:
    network_id: NetworkId
    strategy: str  # flat, flat_dhcp
    physical_network: str | None
    mtu: int
    subnets: tuple[SubnetPlan, ...]
    metadata_port: int | None = None  # the agent's listener for this network: 169.254.169.254:80 leads there


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPlan:
    networks: tuple[NetworkPlan, ...]
    ports: tuple[PortPlan, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PluggedPort:
    port_id: PortId
    device: str  # tap name: "tap" + first 11 characters of the port id


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedPort:
    port_id: PortId
    reason: str


class PortsRefusedError(NetPlugError):
    """Some ports cannot be wired on this host as the plan stands; every other port of the plan is wired."""

    code = "fabric.netplug.refused"

    def __init__(self, refused: tuple[RefusedPort, ...], plugged: tuple[PluggedPort, ...]) -> None:
        shown = "; ".join(f"port {entry.port_id}: {entry.reason}" for entry in refused[:REFUSALS_SHOWN_MAX])
        rest = len(refused) - REFUSALS_SHOWN_MAX
        super().__init__(shown + (f"; and {rest} more" if rest > 0 else ""))
        self.refused = refused
        self.plugged = plugged


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftovers:
    """What of ours exists on the host now. For tests, `fabric doctor`, and the end of a test run."""

    bridges: tuple[str, ...] = ()
    taps: tuple[str, ...] = ()
    shapers: tuple[str, ...] = ()  # links through which what guests send is slowed down
    dnsmasq_pids: tuple[int, ...] = ()
    nft_rules: int = 0
    files: tuple[str, ...] = field(default=())


def tap_name(port_id: PortId) -> str:
    return "tap" + port_id[:11]


def shaper_name(port_id: PortId) -> str:
    return "ifb" + port_id[:11]


def bridge_name(network_id: NetworkId) -> str:
    return "brq" + network_id[:11]


class NetPlug(Protocol):
    async def open(self) -> None: ...

    async def close(self) -> None:
        """Lets go; the data plane (bridges, DHCP, rules) stays up."""
        ...

    async def apply(self, plan: HostPlan) -> tuple[PluggedPort, ...]:
        """Makes the host as planned: bridges, gateway addresses, taps, DHCP, filters, metadata
        redirect. Only differences are applied. Ports that were and stay planned are not disturbed.
        Returns the planned ports with their devices. Networks without a port in the plan get nothing.

        Raises:
            PortsRefusedError: everything else is done; these ports stay unwired (cut off, if they were).
            NetPlugError: the host may be half changed; asking again repairs it.
        """
        ...

    async def leftovers(self) -> Leftovers: ...


class AddressPlug(Protocol):
    """One address that moves from host to host, as seen from this one. What is asked is done in the order
    asked, and to its end even when the asker is cancelled. Everything but `open` and `close` raises
    NetPlugError."""

    async def open(self) -> None: ...

    async def close(self) -> None:
        """Lets go, when what was asked is done; the address stays as it is."""
        ...

    async def ensure(self) -> bool:
        """The address is on this host's interface and can be used at once, also where a neighbour still
        has it. True: it was missing. One that another hand put there is refused, never taken over."""
        ...

    async def remove(self) -> bool:
        """No address put here by such a plug is left, nor one of an earlier life. True: there was one. Those
        of others stay."""
        ...

    async def is_present(self) -> bool: ...

    async def announce(self) -> None:
        """Tells the neighbours once that the address is here."""
        ...
