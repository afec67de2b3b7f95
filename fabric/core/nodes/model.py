"""Nodes, hosts and role grants as rows know them. Liveness is never a row: see core/membership."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from proto.ids import Fence, NodeId, TokenId


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A member as admitted. `body` and `signature` are the first state it signed with its present keys; empty
    for those admitted before they were kept."""

    node_id: NodeId
    name: str
    curve_public: bytes
    certificate: bytes
    admitted_ms: int
    generation: int  # of the certificate
    body: bytes
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedNode:
    """Never a member again. `removal_body` and `removal_signature` are what the root signed about it; empty
    for those removed before it did."""

    node_id: NodeId
    name: str
    curve_public: bytes
    removed_ms: int
    removal_body: bytes
    removal_signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinToken:
    token_id: TokenId
    secret_hash: bytes
    expires_ms: int
    uses_left: int
    door_public: bytes  # the key of the door it opens; empty for those made before it was kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """`number` is a small stable integer: Nova's pre-2.53 ids for services and hypervisors."""

    host_id: NodeId
    number: int
    name: str
    address: str
    zone: str
    hypervisor_type: str
    hypervisor_version: int
    arch: str
    vcpus: int
    memory_mb: int
    disk_gb: int
    cpu_ratio_milli: int
    memory_ratio_milli: int
    disk_ratio_milli: int
    reserved_memory_mb: int
    version: str
    enabled: bool
    disabled_reason: str | None
    forced_down: bool
    created_ms: int
    updated_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HostUsage:
    """A host with what is claimed on it: sums over server rows, stored nowhere. `others_used`: of other
    resource classes, by name; those that no server takes are left out."""

    host: Host
    vcpus_used: int
    memory_mb_used: int
    disk_gb_used: int
    servers: int
    others_used: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleGrant:
    role: str
    node_id: NodeId
    fence: Fence
    since_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VoterWishRow:
    """The operator's word on a node as a voter: "wanted" or "unwanted"."""

    node_id: NodeId
    wish: str
