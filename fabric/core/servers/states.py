"""How a server may move. The only table of it; the store, the API and the host all read this one.

vm_state is the stable truth shown to users, task_state the move under way (None: at rest),
desired what its host must bring about, power_state what the host last saw.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class VmState(StrEnum):
    BUILDING = "building"
    ACTIVE = "active"
    STOPPED = "stopped"
    ERROR = "error"


class TaskState(StrEnum):
    """Values are Nova's own, clients show them."""

    SCHEDULING = "scheduling"
    SPAWNING = "spawning"
    POWERING_OFF = "powering-off"
    POWERING_ON = "powering-on"
    REBOOTING = "rebooting"
    REBOOTING_HARD = "rebooting_hard"
    DELETING = "deleting"


class Desired(StrEnum):
    RUNNING = "running"
    STOPPED = "stopped"
    ABSENT = "absent"


class PowerState(StrEnum):
    NOSTATE = "nostate"
    RUNNING = "running"
    PAUSED = "paused"
    SHUTDOWN = "shutdown"
    CRASHED = "crashed"


POWER_STATE_CODE: Mapping[PowerState, int] = {  # OS-EXT-STS:power_state
    PowerState.NOSTATE: 0,
    PowerState.RUNNING: 1,
    PowerState.PAUSED: 3,
    PowerState.SHUTDOWN: 4,
    PowerState.CRASHED: 6,
}


class Verb(StrEnum):
    START = "start"
    STOP = "stop"
    REBOOT_SOFT = "reboot_soft"
    REBOOT_HARD = "reboot_hard"
    DELETE = "delete"


LEGAL: Mapping[VmState, frozenset[VmState]] = {  # the only way a server may move; deleted = row gone
    VmState.BUILDING: frozenset({VmState.ACTIVE, VmState.ERROR}),
    VmState.ACTIVE: frozenset({VmState.STOPPED, VmState.ERROR}),
    VmState.STOPPED: frozenset({VmState.ACTIVE, VmState.ERROR}),
    VmState.ERROR: frozenset({VmState.ACTIVE, VmState.STOPPED}),
}

ALLOWED: Mapping[Verb, frozenset[VmState]] = {  # vm_states in which a user may ask for it
    Verb.START: frozenset({VmState.STOPPED}),
    Verb.STOP: frozenset({VmState.ACTIVE, VmState.ERROR}),
    Verb.REBOOT_SOFT: frozenset({VmState.ACTIVE}),
    Verb.REBOOT_HARD: frozenset({VmState.ACTIVE, VmState.STOPPED, VmState.ERROR}),
    Verb.DELETE: frozenset(VmState),
}

TASK_OF: Mapping[Verb, TaskState] = {
    Verb.START: TaskState.POWERING_ON,
    Verb.STOP: TaskState.POWERING_OFF,
    Verb.REBOOT_SOFT: TaskState.REBOOTING,
    Verb.REBOOT_HARD: TaskState.REBOOTING_HARD,
    Verb.DELETE: TaskState.DELETING,
}

DESIRED_OF: Mapping[Verb, Desired] = {
    Verb.START: Desired.RUNNING,
    Verb.STOP: Desired.STOPPED,
    Verb.REBOOT_SOFT: Desired.RUNNING,
    Verb.REBOOT_HARD: Desired.RUNNING,
    Verb.DELETE: Desired.ABSENT,
}


def api_status(vm_state: VmState, task_state: TaskState | None) -> str:
    """The `status` users see. Source: Nova's API guide, "Server concepts"."""
    if vm_state is VmState.ERROR and task_state is not TaskState.DELETING:
        return "ERROR"
    if task_state is TaskState.REBOOTING:
        return "REBOOT"
    if task_state is TaskState.REBOOTING_HARD:
        return "HARD_REBOOT"
    return {
        VmState.BUILDING: "BUILD",
        VmState.ACTIVE: "ACTIVE",
        VmState.STOPPED: "SHUTOFF",
        VmState.ERROR: "ERROR",
    }[vm_state]
