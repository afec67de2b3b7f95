"""Members as the table knows them. Ownership must never be gossip: nothing here assigns anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from proto.ids import Incarnation, NodeId


class MemberState(StrEnum):
    """The final set (design/gossip.md 4.4). First light uses ALIVE, SUSPECT, AGENT_DOWN, HOST_DOWN, LEFT."""

    ALIVE = "alive"
    STALLED = "stalled"
    SUSPECT = "suspect"
    AGENT_DOWN = "agent_down"
    HOST_DOWN = "host_down"
    LEAVING = "leaving"
    LEFT = "left"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleClaim:
    """A node says it holds a role, with the fence that proves who is newer."""

    role: str
    fence: int
    since_ms: int  # wall


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What a host offers and uses, as it says itself. Units in the names."""

    vcpus: int = 0
    memory_mb: int = 0
    disk_gb: int = 0
    vcpus_used: int = 0
    memory_mb_used: int = 0
    disk_gb_used: int = 0
    servers: int = 0
    load_milli: int = 0  # 1-minute load average * 1000
    hypervisor: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRecord:
    """What a node says about itself. One writer; the highest (incarnation, version) wins."""

    node_id: NodeId
    name: str
    endpoint: str  # "tcp://ADDR:PORT" of its mesh ROUTER
    curve_public: bytes  # 32 bytes
    certificate: bytes  # signed by the fabric root; see proto/certificate.py
    incarnation: Incarnation  # grows by one at each start, kept on disk
    version: int  # grows by one at each change
    zone: str
    software: str  # version of the code
    roles: tuple[RoleClaim, ...] = ()
    api_urls: tuple[str, ...] = ()
    capacity: Capacity = field(default_factory=Capacity)
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A record with what this node believes about its owner."""

    record: NodeRecord
    state: MemberState
    heard_ms: int  # monotonic, when this node last had evidence of life; own: now
    changed_ms: int  # monotonic, when `state` last changed
