"""Moves: a server goes from its host to another. States: fabric/core/moves/model.py."""

from __future__ import annotations

from dataclasses import dataclass

from proto.commands.base import Command, command
from proto.ids import Fence, NodeId, RequestId, ServerId, UserId


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class MoveBegin(Command):
    """A server is to leave its host. `kind`: migration, evacuation, live-migration. The scheduler finds out
    where to; `host_name`, if given, is the only host that will do. `stays_off`: an evacuated guest is not
    started. It must have left its host, or begun to cross, by `deadline_ms`, and from then on arrive within
    `arrive_ms`.

    Rejected: `not_found`, `bad_state`, `busy`, `conflict` (the server is not on `source_host_id` any more:
    the proposer judged another host)."""

    KIND = "move.begin"
    LEVEL = 3
    move_id: str
    server_id: ServerId
    kind: str
    source_host_id: NodeId
    user_id: UserId
    request_id: RequestId
    host_name: str | None = None
    stays_off: bool = False
    deadline_ms: int
    arrive_ms: int


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class MovePlace(Command):
    """By the scheduler. Rejected as `server.place`, and where the move waits for no host: `bad_state`."""

    KIND = "move.place"
    LEVEL = 3
    move_id: str
    server_id: ServerId
    host_id: NodeId
    fence: Fence
    read_generation: int


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class MoveUnplaceable(Command):
    """By the scheduler: no host fits. The move ends; the server is what it was (an evacuated one in ERROR,
    on its dead host)."""

    KIND = "move.unplaceable"
    LEVEL = 3
    move_id: str
    server_id: ServerId
    fence: Fence
    read_generation: int
    message: str
    details: str = ""


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class MoveConfirm(Command):
    """The server stays where it went: the host it left forgets it. Rejected: `not_found`, `bad_state`,
    `busy`."""

    KIND = "move.confirm"
    LEVEL = 3
    server_id: ServerId
    request_id: RequestId


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class MoveRevert(Command):
    """The server goes back to the host it left, with the disks it had there. `is_dest_gone`: the host it went
    to is down, so nobody waits for the guest to be stopped there; that host drops it when it is back.
    Rejected: `not_found`, `bad_state`, `busy`."""

    KIND = "move.revert"
    LEVEL = 3
    server_id: ServerId
    request_id: RequestId
    is_dest_gone: bool = False
    deadline_ms: int


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class MoveRunning(Command):
    """Of a live move, by the host the guest is on: the other one is ready, and memory begins to cross.
    Rejected: `not_found`, `forbidden` (not that host), `bad_state` (it does not wait for that)."""

    KIND = "move.running"
    LEVEL = 3
    move_id: str
    server_id: ServerId
    host_id: NodeId


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class MoveArrived(Command):
    """Of a live move, by the host that it goes to: the guest runs here. That ends it. Rejected: `not_found`,
    `forbidden` (not that host), `bad_state` (it is over: the guest is not wanted here)."""

    KIND = "move.arrived"
    LEVEL = 3
    move_id: str
    server_id: ServerId
    host_id: NodeId


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class MoveAbort(Command):
    """A live move is to end where the guest is now. Before it has a host it ends at once; later its host is
    asked, and may find that the guest has left. Rejected: `not_found`, `bad_state` (also: no such move)."""

    KIND = "move.abort"
    LEVEL = 3
    move_id: str
    server_id: ServerId
    request_id: RequestId


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class MoveForce(Command):
    """A live move whose guest writes faster than can be sent: it is to wait until it has arrived. Rejected:
    `not_found`, `bad_state` (no such move, or memory does not cross now)."""

    KIND = "move.force"
    LEVEL = 3
    move_id: str
    server_id: ServerId
    request_id: RequestId
