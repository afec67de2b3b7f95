"""What a host is at: work on servers that keeps its disks and network busy. Nova's `num_io_ops`."""

from __future__ import annotations

from fabric.core.moves.model import MOVING_TASKS
from fabric.core.servers.states import TaskState, VmState

BUSY_TASKS = MOVING_TASKS | {TaskState.SPAWNING, TaskState.SHELVING_IMAGE_UPLOADING}


def is_busy(vm_state: str, task_state: str | None) -> bool:
    """Whether that server is such work, for the host that it is on."""
    return vm_state == VmState.BUILDING or task_state in BUSY_TASKS
