"""What the kernel should hold, as values: the output of the pure plan, the input of whatever applies it.

Everything is sorted, so that equal plans give equal values and a difference is a real one.
"""

from __future__ import annotations

from dataclasses import dataclass

from netplug.contract import PluggedPort, RatePlan, RefusedPort
from proto.ids import NetworkId, PortId


@dataclass(frozen=True, slots=True, kw_only=True)
class UplinkFact:
    """A host interface that carries a physical network, as it is now."""

    physical_network: str
    device: str
    mtu: int | None  # None: the device does not exist
    addresses: tuple[str, ...] = ()  # with prefix; a device with addresses is the host's, not ours to enslave
    holder: str | None = None  # the bridge it is in


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """What of the host the plan must respect. Read from the kernel, never changed by the plan."""

    uplinks: tuple[UplinkFact, ...] = ()
    bridges_present: frozenset[str] = frozenset()  # of ours: who is here first wins a conflict
    host_prefixes: tuple[str, ...] = ()  # networks on the host's own interfaces
    closed_ports: tuple[int, ...] = ()  # TCP, on the host's own networks: not for guests
    can_filter: bool = True  # bridged frames can be shown to the stateful filter (br_netfilter)
    no_shaping: str = ""  # why this kernel cannot slow a port down; empty: it can


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRoute:
    """`destination` is directly reachable through the bridge, seen from `source`."""

    destination: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge:
    network_id: NetworkId
    name: str
    mac: str
    mtu: int
    addresses: tuple[str, ...]  # with prefix length
    routes: tuple[LinkRoute, ...]
    uplink: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tap:
    port_id: PortId
    name: str
    bridge: str
    mtu: int
    inbound: RatePlan | None = None
    outbound: RatePlan | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DhcpService:
    """One dnsmasq. `config` and `hosts` are file contents; `leases` the (MAC, address) pairs it may hold."""

    bridge: str
    config: str
    hosts: str
    leases: frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sysctl:
    """A value under /proc/sys. `optional`: a kernel without the key is fine (IPv6 switched off)."""

    key: str
    value: str
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredState:
    bridges: tuple[Bridge, ...]
    taps: tuple[Tap, ...]
    dhcp: tuple[DhcpService, ...]
    sysctls: tuple[Sysctl, ...]
    ruleset: str  # of our own nftables tables; "" when there are none
    plugged: tuple[PluggedPort, ...]
    refused: tuple[RefusedPort, ...]
    cut_off: frozenset[str]  # devices of refused ports: kept when they exist, but in no bridge
