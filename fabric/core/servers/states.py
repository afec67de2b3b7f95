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
    RESIZED = "resized"  # moved, and its user has yet to confirm or take back
    SHELVED_OFFLOADED = "shelved_offloaded"  # an image is all there is of it; no host has it


class TaskState(StrEnum):
    """Values are Nova's own, clients show them."""

    SCHEDULING = "scheduling"
    SPAWNING = "spawning"
    POWERING_OFF = "powering-off"
    POWERING_ON = "powering-on"
    REBOOTING = "rebooting"
    REBOOTING_HARD = "rebooting_hard"
    DELETING = "deleting"
    RESIZE_PREP = "resize_prep"  # a cold move: looks for a host,
    RESIZE_MIGRATING = "resize_migrating"  # is stopped where it is,
    RESIZE_FINISH = "resize_finish"  # is brought over to the other host
    RESIZE_REVERTING = "resize_reverting"
    REBUILDING = "rebuilding"  # evacuated: looks for a host,
    REBUILD_SPAWNING = "rebuild_spawning"  # and is built there
    MIGRATING = "migrating"  # live: runs all the while
    SHELVING = "shelving"  # is stopped,
    SHELVING_IMAGE_UPLOADING = "shelving_image_uploading"  # and its disk becomes an image
    UNSHELVING = "unshelving"  # looks for a host; there it is `spawning` again


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


RUNS = (PowerState.RUNNING, PowerState.PAUSED)  # a guest exists and holds its memory
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
    VmState.ACTIVE: frozenset({VmState.STOPPED, VmState.ERROR, VmState.RESIZED, VmState.SHELVED_OFFLOADED}),
    VmState.STOPPED: frozenset({VmState.ACTIVE, VmState.ERROR, VmState.RESIZED, VmState.SHELVED_OFFLOADED}),
    VmState.ERROR: frozenset({VmState.ACTIVE, VmState.STOPPED, VmState.RESIZED, VmState.SHELVED_OFFLOADED}),
    VmState.RESIZED: frozenset({VmState.ACTIVE, VmState.STOPPED, VmState.ERROR}),
    VmState.SHELVED_OFFLOADED: frozenset({VmState.ACTIVE, VmState.ERROR}),
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


_STATUS_OF_TASK: Mapping[TaskState, str] = {  # which show, whatever the vm_state
    TaskState.REBOOTING: "REBOOT",
    TaskState.REBOOTING_HARD: "HARD_REBOOT",
    TaskState.RESIZE_PREP: "RESIZE",
    TaskState.RESIZE_MIGRATING: "RESIZE",
    TaskState.RESIZE_FINISH: "RESIZE",
    TaskState.RESIZE_REVERTING: "REVERT_RESIZE",
    TaskState.REBUILDING: "REBUILD",
    TaskState.REBUILD_SPAWNING: "REBUILD",
    TaskState.MIGRATING: "MIGRATING",
}
_OF_ERRORS_TOO = frozenset({TaskState.REBUILDING, TaskState.REBUILD_SPAWNING, TaskState.RESIZE_REVERTING})


def api_status(vm_state: VmState, task_state: TaskState | None) -> str:
    """The `status` users see. Source: Nova's API guide, "Server concepts"."""
    if vm_state is VmState.ERROR and task_state not in _OF_ERRORS_TOO:
        return "ERROR"
    if task_state is not None and task_state in _STATUS_OF_TASK:
        return _STATUS_OF_TASK[task_state]
    return {
        VmState.BUILDING: "BUILD",
        VmState.ACTIVE: "ACTIVE",
        VmState.STOPPED: "SHUTOFF",
        VmState.ERROR: "ERROR",
        VmState.RESIZED: "VERIFY_RESIZE",
        VmState.SHELVED_OFFLOADED: "SHELVED_OFFLOADED",
    }[vm_state]
