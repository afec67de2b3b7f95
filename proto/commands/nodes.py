"""Nodes and hosts: who may join, what each host offers, who holds a role."""

from __future__ import annotations

from dataclasses import dataclass

from proto.commands.base import Command, command
from proto.ids import NodeId, TokenId


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class JoinTokenCreate(Command):
    KIND = "join_token.create"
    token_id: TokenId
    secret_hash: bytes  # blake2b-32 of the one-time secret; the secret itself never enters the log
    expires_ms: int
    uses: int = 1
    door_public: bytes = b""  # the door's key, which the token names; empty in older entries


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class JoinTokenRevoke(Command):
    """Nobody joins with it any more. Rejected: `not_found`."""

    KIND = "join_token.revoke"
    token_id: TokenId


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class NodeAdmit(Command):
    """Takes one use of the token. `token_id` None is for the founding node only. `generation` is the
    certificate's; `body` and `signature` are the state the node asked with, so that a conductor which starts
    again can tell the mesh of it.

    Rejected: `not_found` (token unknown or used up), `expired`, `conflict` (name or key taken by
    another node), `stale` (a newer certificate was issued), `forbidden` (the node or its key was removed).
    Admitting the same node again with the same key is accepted and takes no use."""

    KIND = "node.admit"
    node_id: NodeId
    name: str
    curve_public: bytes
    certificate: bytes
    token_id: TokenId | None = None
    generation: int = 1
    body: bytes = b""
    signature: bytes = b""


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRenew(Command):
    """A newer certificate of a member: over the keys it has, or over new ones, then with the first state
    signed by them in `body` and `signature` (empty: stays).

    Rejected: `not_found` (no member any more), `stale` (`generation` is not above the last; the same
    certificate again is accepted), `conflict` (another node has that key)."""

    KIND = "node.renew"
    node_id: NodeId
    curve_public: bytes
    certificate: bytes
    generation: int
    body: bytes = b""
    signature: bytes = b""


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRename(Command):
    """A member, and the host that it is, are called `name` from now on, and so is what is bound to that host
    by name. `certificate` has the name, over the keys the node has; `body` and `signature` are its first word
    under it.

    Rejected: `not_found` (no member any more), `stale` (`generation` is not above the last; the same
    certificate again is accepted), `conflict` (another node, host or resource provider has that name)."""

    KIND = "node.rename"
    LEVEL = 3
    node_id: NodeId
    name: str
    certificate: bytes
    generation: int
    body: bytes
    signature: bytes


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRemove(Command):
    """For ever: the id and its keys are never admitted again. `removal_body` and `removal_signature` are the
    root's word (membership.Removal) that every node is shown.

    Rejected: `not_found`, `in_use` (servers are on it)."""

    KIND = "node.remove"
    node_id: NodeId
    removal_body: bytes = b""
    removal_signature: bytes = b""


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class HostRegister(Command):
    """A host says what it offers. By the host about itself only. Idempotent; enabled/disabled stays."""

    KIND = "host.register"
    host_id: NodeId
    name: str
    address: str
    zone: str
    hypervisor_type: str  # "QEMU", "KVM", "sim"
    hypervisor_version: int  # libvirt's number: major * 1,000,000 + minor * 1,000 + micro
    arch: str
    vcpus: int
    memory_mb: int
    disk_gb: int
    cpu_ratio_milli: int = 16_000  # allocation ratios in thousandths: no floats in the log
    memory_ratio_milli: int = 1_500
    disk_ratio_milli: int = 1_000
    reserved_memory_mb: int = 0
    version: str = ""


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class HostUpdate(Command):
    KIND = "host.update"
    host_id: NodeId
    enabled: bool | None = None
    disabled_reason: str | None = None
    forced_down: bool | None = None


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class RoleHold(Command):
    """Grants a cluster role to a node. The index of this entry is the grant's fence."""

    KIND = "role.hold"
    role: str  # "conductor", "scheduler", "api"
    node_id: NodeId


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class VoterWish(Command):
    """What the operator wants of a node as a voter of the log; the conductor sees to it. Rejected: `invalid`,
    `not_found` (no member)."""

    KIND = "voter.wish"
    node_id: NodeId
    wish: str  # "wanted": before others; "unwanted": never; "": as the conductor thinks best
