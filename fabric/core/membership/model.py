"""Members as the table knows them. Ownership must never be gossip: nothing here assigns anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from proto.ids import Epoch, NodeId


class MemberState(StrEnum):
    """What a node believes of a member (design/gossip.md 4.4)."""

    ALIVE = "alive"
    STALLED = "stalled"  # its machine answers and its agent does not: guests live, give it no work
    SUSPECT = "suspect"  # accused, or never heard yet: a question, not an answer
    AGENT_DOWN = "agent_down"  # its machine refuses, or it was stalled for long; guests may live
    HOST_DOWN = "host_down"  # nothing answers
    LEAVING = "leaving"  # stopped on purpose; it may be back within the restart grace
    LEFT = "left"  # said goodbye
    FORGOTTEN = "forgotten"  # gone so long that only its key is remembered


DOWN_STATES = frozenset({MemberState.AGENT_DOWN, MemberState.HOST_DOWN})
GONE_STATES = DOWN_STATES | {MemberState.LEAVING, MemberState.LEFT, MemberState.FORGOTTEN}

DRAIN_REASON = "drain_reason"  # in `Load.extra`: why a host takes no new servers


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleClaim:
    """A node says it holds a role, with the fence that proves who is newer."""

    role: str
    fence: int
    since_ms: int  # wall


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What a host offers and uses, as it says itself. Units in the names. Both parts in one, for readers."""

    vcpus: int = 0
    memory_mb: int = 0
    disk_gb: int = 0
    vcpus_used: int = 0
    memory_mb_used: int = 0
    disk_gb_used: int = 0
    servers: int = 0
    load_milli: int = 0  # 1-minute load average * 1000
    hypervisor: str = ""
    is_draining: bool = False  # takes no new guests

    @property
    def inventory(self) -> Inventory:
        return Inventory(
            vcpus=self.vcpus, memory_mb=self.memory_mb, disk_gb=self.disk_gb, hypervisor=self.hypervisor
        )

    @property
    def load(self) -> Load:
        return Load(
            vcpus_used=self.vcpus_used,
            memory_mb_used=self.memory_mb_used,
            disk_gb_used=self.disk_gb_used,
            servers=self.servers,
            load_milli=self.load_milli,
            is_draining=self.is_draining,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """The static part of a capacity: changes with hardware. Signed within the record."""

    vcpus: int = 0
    memory_mb: int = 0
    disk_gb: int = 0
    hypervisor: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The dynamic part: changes with work. Has a version of its own and is not signed (see DECISIONS)."""

    vcpus_used: int = 0
    memory_mb_used: int = 0
    disk_gb_used: int = 0
    servers: int = 0
    load_milli: int = 0
    is_draining: bool = False
    extra: Mapping[str, str] = field(default_factory=dict)  # for what later work publishes often


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRecord:
    """What a node says about itself. One writer; the highest (epoch, incarnation, version) wins."""

    node_id: NodeId
    name: str
    endpoint: str  # "tcp://ADDR:PORT" of its mesh ROUTER
    curve_public: bytes  # 32 bytes
    certificate: bytes  # signed by the fabric root; see proto/certificate.py
    epoch: Epoch  # grows by one at each start, durable before the first frame
    version: int  # grows by one at each change
    zone: str
    software: str  # version of the code
    incarnation: int = 0  # grows by one at each refutation (SWIM's incarnation number)
    boot_id: bytes = b""  # 8 random bytes of this process: tells two live owners of one id apart
    uptime_ms: int = 0  # of the process when it said this: of two live owners the older stays
    rack: str = ""
    roles: tuple[RoleClaim, ...] = ()
    api_urls: tuple[str, ...] = ()
    inventory: Inventory = field(default_factory=Inventory)
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def order(self) -> tuple[int, int, int]:
        return (self.epoch, self.incarnation, self.version)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A record with what this node believes about its owner."""

    record: NodeRecord
    state: MemberState
    heard_ms: int  # monotonic, when this node last had evidence of life; own: now
    changed_ms: int  # monotonic, when `state` last changed
    load: Load = field(default_factory=Load)
    rtt_us: int | None = None  # round trip, smoothed; None: never measured
    is_linked: bool = False  # a neighbour in the active view: heard of first-hand each second
    spoke_ms: int | None = None  # monotonic, when it last said something to this node itself; None: never
    rival_ms: int | None = None  # monotonic, when two processes were last seen to use its identity
    rival_endpoint: str = ""  # where the one lives that the record does not name
    # monotonic, when another process, elsewhere, last spoke by its identity while one was thought alive
    contested_ms: int | None = None

    @property
    def capacity(self) -> Capacity:
        inventory, load = self.record.inventory, self.load
        return Capacity(
            vcpus=inventory.vcpus,
            memory_mb=inventory.memory_mb,
            disk_gb=inventory.disk_gb,
            hypervisor=inventory.hypervisor,
            vcpus_used=load.vcpus_used,
            memory_mb_used=load.memory_mb_used,
            disk_gb_used=load.disk_gb_used,
            servers=load.servers,
            load_milli=load.load_milli,
            is_draining=load.is_draining,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkView:
    """One neighbour, for `fabric members --links`."""

    node_id: NodeId
    name: str
    is_up: bool  # our half: frames can be sent
    is_eager: bool  # on the broadcast tree
    is_ring: bool  # kept for connectivity, never evicted
    since_ms: int  # monotonic, when it became a link
    changed_ms: int  # monotonic, when `is_up` last changed
    heard_ms: int  # monotonic, last beat or other word
    rtt_us: int | None
    lag_ms: int  # how late the neighbour says its event loop is
    is_bad: bool  # given up a moment ago: others reach that node and we do not
