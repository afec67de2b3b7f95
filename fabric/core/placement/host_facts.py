"""What is known of one host, or of one aggregate, when a server is to be placed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from fabric.core.membership.model import MemberState
from fabric.core.nodes.model import Host, HostUsage
from fabric.core.placement.inventory import Inventory
from fabric.core.placement.resources import AMOUNT_MAX, DISK_GB, MEMORY_MB, PCPU, VCPU
from fabric.core.topology.facts import NOTHING_TOLD, Told
from fabric.core.topology.model import NOTHING_GIVEN, Grant
from fabric.core.topology.room import HostRoom, room_of
from proto.ids import ImageId, NodeId, ServerId

# A suspect is not dead yet: refusing it would empty the table at each lost heartbeat, and a host that
# does die is caught by the build deadline. A stalled agent and one that is stopping build nothing.
USABLE_STATES = frozenset({MemberState.ALIVE, MemberState.SUSPECT})


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """`host`: its row. `state` None: the membership table has never heard of it. `used`: what servers'
    rows claim, by resource class. `offered`: classes beyond processors, memory and disk."""

    host: Host
    state: MemberState | None
    used: Mapping[str, int] = field(default_factory=dict)
    offered: Mapping[str, Inventory] = field(default_factory=dict)
    traits: frozenset[str] = frozenset()
    servers: int = 0
    io_ops: int = 0  # servers that build, move or are copied
    build_failures: int = 0  # in a row, since the last success
    images: frozenset[ImageId] = frozenset()  # whose bytes came in here
    cached: bytes = b""  # and what it keeps for its guests, as it says itself: see `host_word`
    told: Told = NOTHING_TOLD  # of its cells and devices
    held: Mapping[ServerId, Grant] = field(default_factory=dict)  # of them, by whom; no entry: nothing
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_alive(self) -> bool:
        return self.state in USABLE_STATES

    @property
    def can_take(self) -> bool:
        return self.host.enabled and not self.host.forced_down and self.is_alive

    def inventory(self, name: str) -> Inventory | None:
        """Of a resource class. No server may be larger than the machine, whatever the ratio."""
        host = self.host
        if name == VCPU:
            return Inventory(total=host.vcpus, max_unit=max(0, host.vcpus), ratio_milli=host.cpu_ratio_milli)
        if name == MEMORY_MB:
            return Inventory(
                total=host.memory_mb,
                reserved=host.reserved_memory_mb,
                max_unit=max(0, host.memory_mb),
                ratio_milli=host.memory_ratio_milli,
            )
        if name == DISK_GB:
            return Inventory(total=host.disk_gb, ratio_milli=host.disk_ratio_milli)
        return self.offered.get(name)

    def own_room(self) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """Of memory, processors and disk: what is free, and what of it one server may take. That is what
        `inventory` says of them, in a fifth of the time: tables are made of 10,000 hosts."""
        host, used = self.host, self.used
        memory_mb = max(0, host.memory_mb - host.reserved_memory_mb) * host.memory_ratio_milli // 1_000
        memory_mb -= used.get(MEMORY_MB, 0)
        vcpus = max(0, host.vcpus) * host.cpu_ratio_milli // 1_000 - used.get(VCPU, 0)
        disk_gb = max(0, host.disk_gb) * host.disk_ratio_milli // 1_000 - used.get(DISK_GB, 0)
        most = (
            min(memory_mb, max(0, host.memory_mb)),
            min(vcpus, max(0, host.vcpus)),
            min(disk_gb, AMOUNT_MAX),
        )
        return (memory_mb, vcpus, disk_gb), most

    @property
    def room(self) -> HostRoom:
        """Of its cells and devices. Worked out anew each time."""
        return room_of(
            self.told.topology,
            self.held.values(),
            cpu_ratio_milli=self.host.cpu_ratio_milli,
            memory_ratio_milli=self.host.memory_ratio_milli,
            dedicated_used=self.used.get(PCPU, 0),
        )

    def with_claim(
        self,
        resources: Mapping[str, int],
        *,
        server_id: ServerId | None = None,
        grant: Grant = NOTHING_GIVEN,
    ) -> HostFacts:
        """With one server more."""
        used = {**self.used}
        for name, amount in resources.items():
            used[name] = used.get(name, 0) + amount
        held = {**self.held, server_id: grant} if grant and server_id is not None else self.held
        return replace(self, used=used, servers=self.servers + 1, io_ops=self.io_ops + 1, held=held)

    def without_claim(
        self, resources: Mapping[str, int], *, is_building: bool, server_id: ServerId | None = None
    ) -> HostFacts:
        """As if one of its servers, with these resources, was not there."""
        used = {name: amount - resources.get(name, 0) for name, amount in self.used.items()}
        held = self.held
        if server_id in held:
            held = {each: grant for each, grant in held.items() if each != server_id}
        return replace(self, used=used, servers=self.servers - 1, io_ops=self.io_ops - is_building, held=held)

    def without_held(self, resources: Mapping[str, int], server_id: ServerId) -> HostFacts:
        """As if what the other end of that server's move holds here was not held."""
        used = {name: amount - resources.get(name, 0) for name, amount in self.used.items()}
        held = {each: grant for each, grant in self.held.items() if each != server_id}
        return replace(self, used=used, held=held)


def used_by(usage: HostUsage) -> dict[str, int]:
    """By resource class."""
    own = {VCPU: usage.vcpus_used, MEMORY_MB: usage.memory_mb_used, DISK_GB: usage.disk_gb_used}
    return {**own, **usage.others_used}


@dataclass(frozen=True, slots=True, kw_only=True)
class AggregateFacts:
    aggregate_id: int
    name: str
    metadata: Mapping[str, str]
    host_ids: frozenset[NodeId]

    def values(self, key: str) -> frozenset[str]:
        """What its metadata says of a key: commas part several values. Source: Nova's aggregate filters."""
        return frozenset(part.strip() for part in self.metadata[key].split(","))


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is not a host's own: aggregates, where the members of server groups are, where servers are that
    hints may name."""

    aggregates: tuple[AggregateFacts, ...] = ()
    group_hosts: Mapping[str, Mapping[NodeId, int]] = field(default_factory=dict)  # group -> host -> members
    server_hosts: Mapping[ServerId, NodeId] = field(default_factory=dict)
