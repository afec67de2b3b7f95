"""The plan made true in the kernel, in the network namespace of this process. The only importer of pyroute2.

Reading, planning and writing happen in one worker thread, one apply after the other. Rules come before the
taps they filter and leave after them, so no guest is ever on a bridge unfiltered. Nothing here outlives an
apply but the kernel's state and the files of `netplug.nft` and `netplug.dnsmasq`: whatever an earlier life,
another program or an operator changed is seen and put right by the next apply.

What is ours: links whose alias begins with "fabric:", with the queues on them that `netplug.shaping` makes;
links named "fabnew...", the nftables tables "fabric", dnsmasq processes that run a file of our directory. A
link of a port's name that exists already is adopted, not made (and goes when its port goes); so is a bridge.
So one network namespace takes one plug. Forwarding (`ip_forward`) stays on when the last network leaves:
others may have come to need it.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface
from pathlib import Path
from typing import Any, TypeVar

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from netplug.contract import (
    HostPlan,
    Leftovers,
    PluggedPort,
    PortsRefusedError,
    RatePlan,
    bridge_name,
    shaper_name,
)
from netplug.desired import Bridge, DesiredState, HostFacts, Sysctl, Tap, UplinkFact
from netplug.dnsmasq import DhcpServers
from netplug.nft import RuleTables
from netplug.plan import desired_state
from netplug.shaping import QUEUE_FRAMES, Shaping
from netplug.system import can_filter_bridges, ensure_sysctl
from proto.errors import NetPlugError

log = logging.getLogger(__name__)

ALIAS = "fabric:"
SHAPER = "ifb"  # the kind of link, and how the name of such a one of ours begins
SHAPING_TRIED = "fabnewrate"
DRAFT = "fabnew"  # a link's name until its alias is set, so that a crash in between leaves nothing unknown
IFF_UP = 1
TABLE_MAIN, PROTO_KERNEL, SCOPE_LINK = 254, 2, 253
AF_INET, AF_INET6 = 2, 10
ADDRESS_MARK = 70  # IFA_PROTO of an address of ours; the kernel itself uses 1 to 3
IFA_F_NODAD = 2
LIFETIME_ENDLESS = 0xFFFF_FFFF
MARKS_SINCE = (5, 18)
BRIDGE_OPTIONS = {
    "br_stp_state": 0,
    "br_forward_delay": 0,
    "br_nf_call_iptables": 1,
    "br_nf_call_ip6tables": 1,
}

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    index: int
    name: str
    kind: str
    alias: str
    mac: str
    mtu: int
    master: int
    is_up: bool
    options: tuple[tuple[str, int | None], ...]  # of a bridge
    queue: str  # the kind of its root queue

    @property
    def is_ours(self) -> bool:
        return self.alias.startswith(ALIAS) or self.name.startswith(DRAFT)


class KernelLinks:
    """Links, addresses and routes by netlink. Every call that changes something counts as a write."""

    def __init__(self) -> None:
        self.writes = 0
        self.by_name: dict[str, Link] = {}
        self._addresses: list[tuple[int, str]] = []  # (link index, address with prefix length)

    @contextmanager
    def opened(self) -> Iterator[None]:
        with IPRoute() as self._netlink:
            self._shaping = Shaping(self._netlink, self._count)
            self.refresh()
            yield

    def refresh(self) -> None:
        self.by_name = {link.name: link for link in map(_link, self._netlink.get_links())}
        self._addresses = [
            (entry["index"], f"{entry.get('local') or entry.get('address')}/{entry['prefixlen']}")
            for entry in self._netlink.get_addr()
        ]

    def bridges(self) -> list[Link]:
        return self._ours(lambda kind: kind == "bridge")

    def taps(self) -> list[Link]:
        return self._ours(lambda kind: kind not in ("bridge", SHAPER))

    def shapers(self) -> list[Link]:
        return self._ours(lambda kind: kind == SHAPER)

    def _ours(self, is_wanted: Callable[[str], bool]) -> list[Link]:
        found = (link for link in self.by_name.values() if link.is_ours and is_wanted(link.kind))
        return sorted(found, key=lambda link: link.name)

    def name_of(self, index: int) -> str | None:
        return next((link.name for link in self.by_name.values() if link.index == index), None)

    def addresses_of(self, link: Link) -> list[str]:
        return [address for index, address in self._addresses if index == link.index]

    def delete(self, link: Link) -> None:
        try:
            self._link("del", index=link.index)
        except NetlinkError as error:
            if error.code != errno.ENODEV:  # it went with its veth peer, or by another's hand
                raise
        del self.by_name[link.name]

    def set_master(self, link: Link, master: int) -> None:
        if link.master != master:
            self._link("set", index=link.index, master=master)

    def bring_up(self, link: Link) -> None:
        if not link.is_up:
            self._link("set", index=link.index, state="up")

    def ensure_bridge(self, bridge: Bridge) -> Link:
        alias = ALIAS + bridge.network_id
        if bridge.name not in self.by_name:
            # The MAC in the request: one set later would be the first port's for a moment.
            self._make(bridge.name, alias, kind="bridge", address=bridge.mac, **BRIDGE_OPTIONS)
        link = self.by_name[bridge.name]
        if link.kind != "bridge":
            raise NetPlugError(f"{bridge.name} is a {link.kind or 'device'}, not a bridge")
        if link.options != tuple(BRIDGE_OPTIONS.items()):
            self._link("set", index=link.index, kind="bridge", **BRIDGE_OPTIONS)
        self._ensure_fields(link, alias=alias, mtu=bridge.mtu, mac=bridge.mac)
        return link

    def ensure_tap(self, tap: Tap) -> None:
        alias = ALIAS + tap.port_id
        if tap.name not in self.by_name:
            self._make(tap.name, alias, kind="tuntap", mode="tap")
        link = self.by_name[tap.name]
        self._ensure_fields(link, alias=alias, mtu=tap.mtu)
        self.set_master(link, self.by_name[tap.bridge].index)

    def ensure_rates(self, tap: Tap) -> None:
        """Without a word to the kernel for a tap that has no limits and needs none taken off."""
        link, shaper = self.by_name[tap.name], shaper_name(tap.port_id)
        if tap.inbound is not None:
            self._shaping.ensure_rate(link.index, tap.inbound, tap.mtu)
        elif link.queue == "htb":
            self._shaping.remove_rate(link.index)
        if tap.outbound is None:
            return
        if shaper not in self.by_name:
            self._make(shaper, ALIAS + tap.port_id, kind=SHAPER, txqlen=QUEUE_FRAMES)
        through = self.by_name[shaper]
        if through.kind != SHAPER:
            raise NetPlugError(f"{shaper} is a {through.kind or 'device'}, not an {SHAPER}")
        self._ensure_fields(through, alias=ALIAS + tap.port_id, mtu=tap.mtu)
        self._shaping.ensure_rate(through.index, tap.outbound, tap.mtu)
        self.bring_up(through)
        self._shaping.ensure_redirect(link.index, through.index)

    def drop_shapers(self, taps: Collection[Tap]) -> None:
        """Those that none of these taps needs. The way to one goes first: it would lead nowhere."""
        kept = {shaper_name(tap.port_id) for tap in taps if tap.outbound is not None}
        for shaper in self.shapers():
            if shaper.name in kept:
                continue
            tap = self.by_name.get("tap" + shaper.name.removeprefix(SHAPER))
            if tap is not None:
                self._shaping.remove_redirect(tap.index)
            self.delete(shaper)

    def why_no_shaping(self) -> str:
        """Tried on a link that is made for it, and not counted as a change. Empty: this kernel can."""
        before = self.writes
        self._drop_named(SHAPING_TRIED)
        try:
            self._link("add", ifname=SHAPING_TRIED, kind=SHAPER)
            index = self._netlink.link_lookup(ifname=SHAPING_TRIED)[0]
            self._shaping.ensure_rate(index, RatePlan(average_kb_s=1), mtu=1_500)
            self._shaping.ensure_redirect(index, index)
        except NetlinkError as error:
            if error.code not in (errno.ENOENT, errno.EOPNOTSUPP, errno.EINVAL):
                raise
            return f"this kernel cannot limit how fast a port is (ifb, sch_htb, cls_u32, act_mirred): {error}"
        finally:
            self._drop_named(SHAPING_TRIED)
            self.writes = before
        return ""

    def _drop_named(self, name: str) -> None:
        for index in self._netlink.link_lookup(ifname=name):
            self._link("del", index=index)

    def _count(self) -> None:
        self.writes += 1

    def ensure_addresses(self, bridge: Bridge) -> None:
        link = self.by_name[bridge.name]
        present = [entry for entry in self.addresses_of(link) if ip_interface(entry).version == 4]
        for address in sorted(set(present) - set(bridge.addresses)):
            self._address("del", link, address)
        for address in bridge.addresses:
            if address not in present:
                self._address("add", link, address)

    def ensure_routes(self, bridge: Bridge) -> None:
        """After the bridge is up. Routes the kernel made from addresses are its own affair."""
        link = self.by_name[bridge.name]
        wanted = {(route.destination, route.source) for route in bridge.routes}
        present = set()
        for entry in self._netlink.get_routes(oif=link.index, table=TABLE_MAIN, family=AF_INET):
            if entry["proto"] != PROTO_KERNEL and entry.get("gateway") is None:
                present.add((f"{entry.get('dst')}/{entry['dst_len']}", entry.get("prefsrc")))
        for verb, routes in (("del", present - wanted), ("add", wanted - present)):
            for destination, source in sorted(routes, key=str):
                self.writes += 1
                self._netlink.route(
                    verb, dst=destination, oif=link.index, prefsrc=source, scope=SCOPE_LINK, table=TABLE_MAIN
                )

    def _make(self, name: str, alias: str, **request: Any) -> None:
        draft = DRAFT + name[-8:]
        if draft in self.by_name:
            self.delete(self.by_name[draft])
        self._link("add", ifname=draft, **request)
        index = self._netlink.link_lookup(ifname=draft)[0]
        self._link("set", index=index, ifname=name, ifalias=alias)
        self.by_name[name] = _link(self._netlink.get_links(index)[0])

    def _ensure_fields(self, link: Link, *, alias: str, mtu: int, mac: str | None = None) -> None:
        changes: dict[str, Any] = {}
        if link.alias != alias:
            changes["ifalias"] = alias
        if link.mtu != mtu:
            changes["mtu"] = mtu
        if mac is not None and link.mac != mac:
            changes["address"] = mac
        if changes:
            self._link("set", index=link.index, **changes)

    def _link(self, verb: str, **request: Any) -> None:
        self.writes += 1
        self._netlink.link(verb, **request)

    def _address(self, verb: str, link: Link, address: str) -> None:
        self.writes += 1
        host, length = address.split("/")
        self._netlink.addr(verb, index=link.index, address=host, prefixlen=int(length))


def _link(entry: Any) -> Link:
    is_bridge = entry.get(("linkinfo", "kind")) == "bridge"
    options = (
        tuple((key, entry.get(("linkinfo", "data", key))) for key in BRIDGE_OPTIONS) if is_bridge else ()
    )
    return Link(
        index=entry["index"],
        name=entry.get("ifname"),
        kind=entry.get(("linkinfo", "kind")) or "",
        alias=entry.get("ifalias") or "",
        mac=entry.get("address") or "",
        mtu=entry.get("mtu"),
        master=entry.get("master") or 0,
        is_up=bool(entry["flags"] & IFF_UP),
        options=options,
        queue=entry.get("qdisc") or "",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedAddress:
    index: int  # of its link
    address: str  # with prefix length
    is_marked: bool


class KernelAddresses:
    """This host's addresses, with a mark on ours, for `netplug.linux_address`. Raises NetPlugError."""

    def __init__(self) -> None:
        found = re.match(r"(\d+)\.(\d+)", os.uname().release)
        self.keeps_marks = found is not None and (int(found[1]), int(found[2])) >= MARKS_SINCE

    @contextmanager
    def opened(self) -> Iterator[None]:
        try:
            with IPRoute() as self._netlink:
                yield
        except (NetlinkError, OSError) as error:
            number = error.code if isinstance(error, NetlinkError) else error.errno
            reason = os.strerror(number or 0)
            if number == errno.EPERM:
                reason += " (the agent needs root or CAP_NET_ADMIN)"
            raise NetPlugError(f"the kernel refused: {reason}") from error

    def addresses(self) -> list[PlacedAddress]:
        return [
            PlacedAddress(
                index=entry["index"],
                address=f"{entry.get('local') or entry.get('address')}/{entry['prefixlen']}",
                is_marked=entry.get("proto") == ADDRESS_MARK,
            )
            for entry in self._netlink.get_addr()
        ]

    def link_named(self, name: str) -> Link | None:
        indexes = self._netlink.link_lookup(ifname=name)
        return self.link_at(indexes[0]) if indexes else None

    def link_at(self, index: int) -> Link:
        return _link(self._netlink.get_links(index)[0])

    def add(self, index: int, address: str) -> None:
        """Never the source of what this host sends by itself: an IPv4 address is the second of its subnet, an
        IPv6 one deprecated. Duplicate address detection would wait for a holder that is being replaced."""
        host, length = address.split("/")
        request: dict[str, Any] = {}
        if ip_address(host).version == 6:
            request = {"flags": IFA_F_NODAD, "preferred_lft": 0, "valid_lft": LIFETIME_ENDLESS}
        self._netlink.addr(
            "add", index=index, address=host, prefixlen=int(length), proto=ADDRESS_MARK, **request
        )

    def delete(self, placed: PlacedAddress) -> None:
        host, length = placed.address.split("/")
        try:
            self._netlink.addr("del", index=placed.index, address=host, prefixlen=int(length))
        except NetlinkError as error:
            if error.code not in (errno.EADDRNOTAVAIL, errno.ENODEV):  # it went by another's hand
                raise


class LinuxNetPlug:
    """The network plug of a Linux host. `directory` is ours alone; `uplinks` maps a physical network's name
    to the interface of this host that carries it, an interface without addresses. `closed_ports`: TCP ports
    of the hosts on this host's own networks that guests must not reach through it."""

    def __init__(
        self,
        directory: Path,
        *,
        uplinks: Mapping[str, str],
        host_name: str = "",
        closed_ports: Collection[int] = (),
    ) -> None:
        self._directory = directory
        self._uplinks = dict(uplinks)
        self._closed_ports = tuple(sorted(set(closed_ports)))
        self._host_name = host_name
        self._links = KernelLinks()
        self._rules = RuleTables(directory / "nftables.json")
        self._servers = DhcpServers(directory / "dnsmasq")
        self._sysctl_writes = 0
        self._can_filter = False
        self._no_shaping: str | None = None  # nobody has asked yet
        self._made_taps: frozenset[str] = frozenset()
        self._worker: ThreadPoolExecutor | None = None

    @property
    def writes(self) -> int:
        """How often the host was changed by this object: the measure of "only differences are applied"."""
        return self._links.writes + self._rules.writes + self._servers.writes + self._sysctl_writes

    async def open(self) -> None:
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="netplug")
        self._can_filter = await self._in_worker(self._prepare)
        if not self._can_filter:
            log.warning("bridged frames cannot be filtered", extra={"node": self._host_name})

    async def close(self) -> None:
        """Lets go; the data plane stays up. Waits for a running apply."""
        worker, self._worker = self._worker, None
        if worker is not None:
            await asyncio.to_thread(worker.shutdown, wait=True)

    async def apply(self, plan: HostPlan) -> tuple[PluggedPort, ...]:
        before = self.writes
        state = await self._in_worker(lambda: self._apply(plan))
        if self.writes != before:
            log.info(
                "host network changed",
                extra={"node": self._host_name, "ports": len(state.plugged), "writes": self.writes - before},
            )
        if state.refused:
            raise PortsRefusedError(state.refused, state.plugged)
        return state.plugged

    async def leftovers(self) -> Leftovers:
        return await self._in_worker(self._leftovers)

    async def _in_worker(self, work: Callable[[], T]) -> T:
        """The worker runs to its end even when the caller is cancelled; the next caller waits for it."""
        if self._worker is None:
            raise NetPlugError("the network plug is not open")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, work)
        except (NetlinkError, OSError) as error:
            raise NetPlugError(f"the kernel refused: {error}") from error

    def _prepare(self) -> bool:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return can_filter_bridges()

    def _apply(self, plan: HostPlan) -> DesiredState:
        with self._links.opened():
            state = desired_state(plan, self._facts(plan))
            self._tell_lost_taps(state)
            self._unplug(state)
            indexes = {bridge.name: self._links.ensure_bridge(bridge).index for bridge in state.bridges}
            self._set_sysctls(state.sysctls, {bridge.name for bridge in state.bridges})
            self._rules.apply(state.ruleset)
            self._plug(state)
            self._servers.apply(state.dhcp, indexes)
            for link in self._links.bridges():
                if link.name not in indexes:
                    self._links.delete(link)
            return state

    def _tell_lost_taps(self, state: DesiredState) -> None:
        """A guest holds its tap open; one made anew under the old name is another. Only a new boot helps."""
        lost = self._made_taps.intersection(tap.name for tap in state.taps) - self._links.by_name.keys()
        for name in sorted(lost):
            log.warning(
                "tap was removed by another hand; a guest that runs on it is cut off until a hard reboot",
                extra={"node": self._host_name, "device": name},
            )
        self._made_taps = frozenset(tap.name for tap in state.taps)

    def _facts(self, plan: HostPlan) -> HostFacts:
        links = self._links
        if self._no_shaping is None and any(port.inbound or port.outbound for port in plan.ports):
            self._no_shaping = links.why_no_shaping()
        adopted = {bridge_name(network.network_id) for network in plan.networks} & set(links.by_name)
        ours = adopted | {link.name for link in links.bridges()}
        prefixes = [
            address
            for link in links.by_name.values()
            if link.name not in ours
            for address in links.addresses_of(link)
            if not ip_interface(address).is_loopback and not ip_interface(address).is_link_local
        ]
        return HostFacts(
            uplinks=tuple(self._uplink(name, device) for name, device in sorted(self._uplinks.items())),
            bridges_present=frozenset(ours),
            host_prefixes=tuple(sorted(prefixes)),
            closed_ports=self._closed_ports,
            can_filter=self._can_filter,
            no_shaping=self._no_shaping or "",
        )

    def _uplink(self, physical_network: str, device: str) -> UplinkFact:
        link = self._links.by_name.get(device)
        if link is None:
            return UplinkFact(physical_network=physical_network, device=device, mtu=None)
        addresses = self._links.addresses_of(link)
        return UplinkFact(
            physical_network=physical_network,
            device=device,
            mtu=link.mtu,
            addresses=tuple(
                entry for entry in addresses if not ip_address(entry.split("/")[0]).is_link_local
            ),
            holder=self._links.name_of(link.master) if link.master else None,
        )

    def _unplug(self, state: DesiredState) -> None:
        """What must not meet the new rules leaves its bridge first."""
        wanted = {tap.name for tap in state.taps}
        for link in self._links.taps():
            if link.name in state.cut_off:
                self._links.set_master(link, 0)
            elif link.name not in wanted:
                self._links.delete(link)
        carried = {bridge.uplink: bridge.name for bridge in state.bridges if bridge.uplink}
        ours = {link.index: link.name for link in self._links.bridges()}
        for device in sorted(set(self._uplinks.values())):
            uplink = self._links.by_name.get(device)
            if uplink is not None and uplink.master in ours and ours[uplink.master] != carried.get(device):
                self._links.set_master(uplink, 0)
        self._links.refresh()

    def _plug(self, state: DesiredState) -> None:
        for bridge in state.bridges:
            self._links.ensure_addresses(bridge)
            self._links.bring_up(self._links.by_name[bridge.name])
            self._links.ensure_routes(bridge)
            if bridge.uplink is not None:
                uplink = self._links.by_name[bridge.uplink]
                self._links.set_master(uplink, self._links.by_name[bridge.name].index)
                self._links.bring_up(uplink)
        for tap in state.taps:
            self._links.ensure_tap(tap)
            self._links.ensure_rates(tap)
        self._links.drop_shapers(state.taps)
        self._set_sysctls(state.sysctls, {tap.name for tap in state.taps})
        for tap in state.taps:
            self._links.bring_up(self._links.by_name[tap.name])

    def _set_sysctls(self, sysctls: tuple[Sysctl, ...], devices: set[str]) -> None:
        """Those of `devices` and those of no device."""
        for sysctl in sysctls:
            if "/conf/" not in sysctl.key or sysctl.key.split("/")[3] in devices:
                self._sysctl_writes += ensure_sysctl(sysctl)

    def _leftovers(self) -> Leftovers:
        with self._links.opened():
            links = self._links
            record = self._directory / "nftables.json"
            files = [*self._servers.files(), *([record] if record.exists() else [])]
            return Leftovers(
                bridges=tuple(link.name for link in links.bridges()),
                taps=tuple(link.name for link in links.taps()),
                shapers=tuple(link.name for link in links.shapers()),
                dnsmasq_pids=self._servers.pids(),
                nft_rules=self._rules.rule_count(),
                files=tuple(str(path) for path in files),
            )
