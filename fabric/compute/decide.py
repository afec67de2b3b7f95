"""What a host does about one server, from its row and its domain. Pure: the whole policy in one place."""

from __future__ import annotations

from enum import StrEnum

from drivers.contract import DomainState, Power
from fabric.core.moves.model import MoveOfServer, MoveStatus
from fabric.core.servers.model import Server
from fabric.core.servers.states import Desired, PowerState, TaskState, VmState


class Work(StrEnum):
    NONE = "none"
    BUILD = "build"
    START = "start"
    STOP = "stop"
    REBOOT = "reboot"
    REMOVE = "remove"  # the user deleted it: take it down and say so
    DISCARD = "discard"  # nothing of it should be here: take it down
    REPORT = "report"  # the guest moved by itself
    LEAVE = "leave"  # it goes to another host, or is shelved: off, and its disks stay as they are
    ARRIVE = "arrive"  # it comes from another host, with its disks
    MIGRATE = "migrate"  # it goes to another host while it runs
    RECEIVE = "receive"  # it is to come while it runs: make ready
    LAND = "land"  # and has come
    SAVE = "save"  # it is shelved: its disk becomes an image
    PARK = "park"  # it went to another host: off, whatever its row says there


_WORK_OF: dict[TaskState, Work] = {
    TaskState.SPAWNING: Work.BUILD,
    TaskState.POWERING_ON: Work.START,
    TaskState.POWERING_OFF: Work.STOP,
    TaskState.REBOOTING: Work.REBOOT,
    TaskState.REBOOTING_HARD: Work.REBOOT,
    TaskState.RESIZE_MIGRATING: Work.LEAVE,
    TaskState.RESIZE_FINISH: Work.ARRIVE,
    TaskState.REBUILD_SPAWNING: Work.BUILD,
    TaskState.SHELVING: Work.LEAVE,
    TaskState.SHELVING_IMAGE_UPLOADING: Work.SAVE,
}

_POWER_STATE: dict[Power, PowerState] = {
    Power.RUNNING: PowerState.RUNNING,
    Power.PAUSED: PowerState.PAUSED,
    Power.SHUTDOWN: PowerState.SHUTDOWN,
    Power.CRASHED: PowerState.CRASHED,
}


def decide(
    server: Server,
    domain: DomainState | None,
    *,
    move: MoveOfServer | None = None,
    done_generation: int = 0,
    failed_generation: int = 0,
) -> Work:
    """`done_generation` is the newest action generation whose work this process has ended, well or
    badly; its row may not show that yet. `failed_generation` is the newest that ended badly: the fault
    is its answer, it is not tried again."""
    is_done = done_generation >= server.action_generation
    if server.desired is Desired.ABSENT:
        return Work.NONE if is_done else Work.REMOVE
    if is_written_off(server):
        if domain is None:
            return Work.NONE
        if domain.power is Power.RUNNING and failed_generation < server.action_generation:
            # Its build came to an end after all, only too late for its deadline: saying so heals the row.
            return Work.NONE if is_done else Work.BUILD
        return Work.DISCARD
    if server.task_state is None:
        return Work.NONE if power_change(server, domain) is None else Work.REPORT
    if is_done:
        return Work.NONE
    if server.task_state is TaskState.RESIZE_REVERTING and move is not None:
        return Work.START if server.host_id == move.source_host_id else Work.LEAVE
    if server.task_state is TaskState.MIGRATING:
        is_to_go = move is not None and move.dest_host_id is not None
        has_gone = move is not None and move.status == MoveStatus.POST_MIGRATING
        return Work.MIGRATE if is_to_go and not has_gone else Work.NONE
    return _WORK_OF.get(server.task_state, Work.NONE)


def decide_arriving(domain: DomainState | None, *, is_expected: bool) -> Work:
    """About a guest that comes live and is another host's still: what runs here has arrived."""
    if domain is not None and domain.power is Power.RUNNING:
        return Work.LAND
    return Work.NONE if is_expected else Work.RECEIVE


def is_written_off(server: Server) -> bool:
    """It never ran and will not, unless its user asks again: its build failed or ran out of time."""
    return server.vm_state is VmState.ERROR and server.task_state is None and server.launched_ms is None


def power_change(server: Server, domain: DomainState | None) -> PowerState | None:
    """What to report of a server at rest, None when its row tells the truth already."""
    if server.task_state is not None or server.vm_state is VmState.BUILDING:
        return None
    seen = power_state_of(domain)
    return seen if seen is not server.power_state else None


def power_state_of(domain: DomainState | None) -> PowerState:
    return _POWER_STATE[domain.power] if domain is not None else PowerState.NOSTATE
