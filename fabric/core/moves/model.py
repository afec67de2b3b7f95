"""Moves: a server that has a host leaves it for another one. What may happen to one, and in which order.

One row a move. While it is open, one host beside the server's own holds as much as the server does there
(`held_host_id`): first the host that it goes to, so that its room is sure before anything is touched; then
the host that it left, so that the way back is open. That is the only second claim there is.

    migration    placed -> the guest is stopped -> disks cross -> it runs there -> confirmed, or taken back
    evacuation   placed -> built there from its image; its host is down, and drops its copy when it is back
    live         placed -> made ready there -> its memory and disks cross while it runs -> it runs there

A live move's guest is on one of the two hosts, and they alone know on which. So the row stays with the host
that it left until the other one says that it has arrived; whoever wants an end to it asks the first to abort.

Statuses and their order are Nova's (os-migrations); source: its API reference and "Migrate instances".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from fabric.core.servers.states import TaskState, VmState
from proto.ids import NodeId, ProjectId, ServerId, UserId


class MoveKind(StrEnum):
    """Nova's migration types."""

    MIGRATION = "migration"
    EVACUATION = "evacuation"
    LIVE = "live-migration"


class MoveStatus(StrEnum):
    ACCEPTED = "accepted"  # an evacuation that has no host yet
    PRE_MIGRATING = "pre-migrating"  # no host yet; of an evacuation: being built there
    MIGRATING = "migrating"  # the guest is being stopped
    POST_MIGRATING = "post-migrating"  # its disks cross, and it is started
    FINISHED = "finished"  # waits to be confirmed
    CONFIRMED = "confirmed"
    REVERTED = "reverted"
    DONE = "done"  # of an evacuation
    FAILED = "failed"  # of an evacuation
    QUEUED = "queued"  # live ones: no host yet
    PREPARING = "preparing"  # the other host makes room for the guest
    RUNNING = "running"  # its memory crosses
    FORCING = "forcing"  # the same, and it is to wait until that is done
    ABORTING = "aborting"  # the same, and it is to end
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    ERROR = "error"


OPEN = frozenset(
    {
        MoveStatus.ACCEPTED,
        MoveStatus.PRE_MIGRATING,
        MoveStatus.MIGRATING,
        MoveStatus.POST_MIGRATING,
        MoveStatus.FINISHED,
        MoveStatus.QUEUED,
        MoveStatus.PREPARING,
        MoveStatus.RUNNING,
        MoveStatus.FORCING,
        MoveStatus.ABORTING,
    }
)
FIRST_STATUS = {
    MoveKind.MIGRATION: MoveStatus.PRE_MIGRATING,
    MoveKind.EVACUATION: MoveStatus.ACCEPTED,
    MoveKind.LIVE: MoveStatus.QUEUED,
}
FIRST_TASK = {
    MoveKind.MIGRATION: TaskState.RESIZE_PREP,
    MoveKind.EVACUATION: TaskState.REBUILDING,
    MoveKind.LIVE: TaskState.MIGRATING,
}
_MAY_BEGIN: Mapping[MoveKind, frozenset[VmState]] = {
    MoveKind.MIGRATION: frozenset({VmState.ACTIVE, VmState.STOPPED}),
    MoveKind.EVACUATION: frozenset({VmState.ACTIVE, VmState.STOPPED, VmState.ERROR}),
    MoveKind.LIVE: frozenset({VmState.ACTIVE}),
}
_SPOKEN = {
    MoveKind.MIGRATION: "migrate",
    MoveKind.EVACUATION: "evacuate",
    MoveKind.LIVE: "os-migrateLive",
}
WAITS_FOR_HOST = frozenset(FIRST_TASK.values())
MOVING_TASKS = frozenset(
    {
        *WAITS_FOR_HOST,
        TaskState.RESIZE_MIGRATING,
        TaskState.RESIZE_FINISH,
        TaskState.RESIZE_REVERTING,
        TaskState.REBUILD_SPAWNING,
    }
)
_AT_REST = frozenset({VmState.RESIZED, VmState.ERROR})  # of vm_states, in which a move may be open
ENDED_BADLY = {
    MoveKind.MIGRATION: MoveStatus.ERROR,
    MoveKind.EVACUATION: MoveStatus.FAILED,
    MoveKind.LIVE: MoveStatus.ERROR,
}
SHOWN_AS = {MoveStatus.FORCING: MoveStatus.RUNNING, MoveStatus.ABORTING: MoveStatus.RUNNING}  # Nova's words


def may_be_moving(vm_state: str, task_state: str | None) -> bool:
    """False: a server in these states has no open move, and nobody need look for one."""
    return task_state in MOVING_TASKS or vm_state in _AT_REST


def cannot_in(kind: MoveKind, server_id: str, state: str) -> str:
    """Nova's words; `state`: which one, and its name."""
    return f"Cannot '{_SPOKEN[kind]}' instance {server_id} while it is in {state}"


def why_not_now(kind: MoveKind, server_id: str, vm_state: VmState) -> str | None:
    """Why a server in that state cannot be moved so; None: it can."""
    if vm_state in _MAY_BEGIN[kind]:
        return None
    return cannot_in(kind, server_id, f"vm_state {vm_state.value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    move_id: str  # a UUID
    number: int  # os-migrations' id
    server_id: ServerId
    project_id: ProjectId
    user_id: UserId  # who asked for it
    kind: MoveKind
    status: MoveStatus
    source_host_id: NodeId
    source_name: str
    dest_host_id: NodeId | None  # None until placed
    dest_name: str | None
    host_wanted: str | None  # a host's name
    flavor_id: str
    message: str  # why it ended badly; "" otherwise
    created_ms: int
    updated_ms: int

    @property
    def is_open(self) -> bool:
        return self.status in OPEN


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveOfServer:
    """What a host must know of the move under way of one of its servers."""

    move_id: str
    kind: MoveKind
    source_host_id: NodeId
    dest_host_id: NodeId | None
    status: str = ""  # MoveStatus value


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkedServer:
    """A server that left this host, or is just leaving it: its disks are kept, no guest of it may run here,
    and `to_host_id` may read them."""

    server_id: ServerId
    to_host_id: NodeId
