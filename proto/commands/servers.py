"""Servers: from the user's wish to the host's report. States and moves: fabric/core/servers/states.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from proto.commands.base import Command, command
from proto.commands.networks import PortSpec
from proto.ids import (
    Fence,
    FlavorId,
    ImageId,
    NodeId,
    PortId,
    ProjectId,
    RequestId,
    ServerGroupId,
    ServerId,
    UserId,
)


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCreate(Command):
    """The flavor's numbers are looked up at apply from `flavor_id` and frozen into the row.

    Makes the row (vm_state building, task_state scheduling), makes `new_ports` and binds
    `existing_port_ids`, all or nothing. Rejected: `quota`, `not_found`, `address_taken`, `mac_taken`,
    `conflict`, `in_use` (port bound elsewhere)."""

    KIND = "server.create"
    server_id: ServerId
    project_id: ProjectId
    user_id: UserId
    request_id: RequestId
    name: str
    hostname: str
    flavor_id: FlavorId
    image_id: ImageId
    zone: str | None = None  # asked for
    host_name: str | None = None  # asked for ("zone:host" or 2.74 host), admin only
    key_name: str | None = None
    key_type: str = "ssh"
    public_key: str | None = None
    user_data: bytes | None = None
    admin_pass: str | None = None  # erased from the row when the server first turns ACTIVE
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    description: str | None = None
    config_drive: bool = False
    new_ports: tuple[PortSpec, ...] = ()
    existing_port_ids: tuple[PortId, ...] = ()
    port_order: tuple[PortId, ...] = ()  # NIC order over both
    launch_index: int = 0
    reservation_id: str = ""
    deadline_ms: int  # must have left `building` by then


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCreateHinted(ServerCreate):
    """A server with wishes for the scheduler: proposed only where there are any, so that all others can be
    made at level 1. Rejected as `server.create`, and `quota` (the group's members), `invalid` (no such group
    in the project)."""

    KIND = "server.create@2"
    LEVEL = 2
    group_id: ServerGroupId | None = None  # the server group that it joins
    hints: Mapping[str, object] = field(default_factory=dict)  # name -> text or list of texts; no `group`


@dataclass(frozen=True, slots=True, kw_only=True)
class Alike:
    """What a server has of its own that is otherwise made as another."""

    server_id: ServerId
    name: str
    hostname: str
    new_ports: tuple[PortSpec, ...] = ()
    port_order: tuple[PortId, ...] = ()


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCreateAlike(ServerCreateHinted):
    """Several servers, all or none: this one and `others`, whose launch indexes follow its. Rejected as
    `server.create@2`; the quota has to hold them all."""

    KIND = "server.create@3"
    LEVEL = 3
    others: tuple[Alike, ...] = ()


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class ServerPlace(Command):
    """By the scheduler. Rejected: `fenced` (a newer scheduler holds the role), `no_capacity`,
    `host_disabled`, `bad_state`, `not_found`, `stale`; from level 2 on `policy_violated` (the server's group
    does not allow that host)."""

    KIND = "server.place"
    server_id: ServerId
    host_id: NodeId
    fence: Fence
    read_generation: int


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class ServerUnplaceable(Command):
    """By the scheduler: no host fits. The server goes to ERROR with this fault."""

    KIND = "server.unplaceable"
    server_id: ServerId
    fence: Fence
    read_generation: int
    message: str
    details: str = ""


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAct(Command):
    """A user's action. `verb`: start, stop, reboot_soft, reboot_hard, delete. Sets desired state, task
    state, deadline, and bumps the generation. `delete` of a server no host has yet removes it at once.
    Rejected: `not_found`, `bad_state` (message names the state), `busy` (another task under way;
    delete is always allowed)."""

    KIND = "server.act"
    server_id: ServerId
    verb: str
    request_id: RequestId
    deadline_ms: int


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class ServerUpdate(Command):
    """Fields left None stay. `metadata` replaces the whole map."""

    KIND = "server.update"
    server_id: ServerId
    name: str | None = None
    description: str | None = None
    hostname: str | None = None
    metadata: Mapping[str, str] | None = None
    tags: tuple[str, ...] | None = None
    locked: bool | None = None
    locked_reason: str | None = None


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class ServerPin(ServerUpdate):
    """An update that also binds the server to the zone that it is in, or (`zone` None) to none any more: all
    of it or nothing. Later moves obey. What it is bound to already changes nothing and is always allowed; a
    zone for another zone is not. Rejected: `not_found`, `quota`, `busy` (a task is under way), `bad_state` (a
    move of it is not over), `conflict` (bound to another zone, not in this one, or on no host)."""

    KIND = "server.pin"
    LEVEL = 3
    zone: str | None


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class ServerObserved(Command):
    """By the host: the work of `generation` is done, or failed (`fault_message`), or the guest moved by
    itself (`generation` None: power state changed under us). `left_nothing`: of a build that failed, all is
    undone and this host will never do it, so it may be tried elsewhere (from level 2 on). Rejected:
    `forbidden` (not this host's server), `stale` (the user asked for something newer), `not_found`."""

    KIND = "server.observed"
    server_id: ServerId
    host_id: NodeId
    generation: int | None
    power_state: str  # core.servers.states.PowerState value
    fault_message: str | None = None
    fault_details: str = ""
    left_nothing: bool = False


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class ServerRemoved(Command):
    """By the host: nothing of the server is left here. Deletes the row, frees ports it made.
    Rejected: `forbidden`, `bad_state` (not being deleted), `not_found`."""

    KIND = "server.removed"
    server_id: ServerId
    host_id: NodeId


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class ServerExpire(Command):
    """By the conductor, the reconciler of last resort: past its deadline. building -> ERROR; a task on
    a live server -> task cleared, ERROR; deleting -> removed (its host cleans up when it is back).
    Rejected `stale` when the generation moved, `not_due` when the stamp is before the deadline."""

    KIND = "server.expire"
    server_id: ServerId
    generation: int
    reason: str
