"""What comes of shelving and unshelving when a host reports, when nobody does until the deadline, and when no
host fits. Each gives what the server's row becomes."""

from __future__ import annotations

from typing import Any

from fabric.core.servers.shelved import SHELVING_TASKS
from fabric.core.servers.states import RUNS, Desired, PowerState, TaskState, VmState
from fabric.store.apply.context import ApplyContext
from fabric.store.apply.failed_builds import forget_failed_builds, tried_elsewhere
from fabric.store.apply.move_rows import new_work
from fabric.store.apply.move_steps import RESTART_MS
from fabric.store.apply.ports import DOWN, ports_of_server, write_port
from fabric.store.apply.server_rows import AT_REST, IN_ERROR, fault
from fabric.store.apply.shelved_rows import forget_shelved, shelved
from fabric.store.prepared import AnyRow
from proto.commands.servers import ServerObserved

_SHELVING = frozenset(task.value for task in SHELVING_TASKS)


def step_of_shelving(
    context: ApplyContext, command: ServerObserved, row: AnyRow, power: PowerState
) -> dict[str, Any] | None:
    """What a host's report on the work that it was given makes of the server. None: shelving has no word in
    it. That the image is made, hosts say otherwise (`server.shelved`)."""
    if row.desired == Desired.ABSENT.value:
        return None
    if row.task_state in _SHELVING:
        is_off = command.fault_message is None and power not in RUNS
        if is_off and row.task_state == TaskState.SHELVING.value:
            return new_work(row, TaskState.SHELVING_IMAGE_UPLOADING)
        return _as_it_was(context, row)
    if command.fault_message is None or not command.left_nothing:
        return None
    kept = shelved(context, row)
    if kept is None or row.task_state not in (None, TaskState.SPAWNING.value):
        return None
    if row.task_state is not None and kept.host_wanted is None:
        elsewhere = tried_elsewhere(context, row, command.fault_message, TaskState.UNSHELVING)
        if elsewhere is not None:
            return elsewhere
    return back_to_shelf(context, row, command.fault_message, command.fault_details)


def expired_shelving(context: ApplyContext, row: AnyRow, reason: str) -> dict[str, Any] | None:
    """Its deadline has passed. None: it was neither being shelved nor unshelved."""
    if row.task_state in _SHELVING:
        return _as_it_was(context, row)
    if row.vm_state != VmState.SHELVED_OFFLOADED.value:
        return None
    if row.host_id is None:
        return back_to_shelf(context, row, reason)
    # Whether it runs there nobody knows. It is not built elsewhere meanwhile: one guest, not two.
    hint = f"{reason}; its image is kept: reboot it hard, or evacuate it if that host is not coming back"
    return {**IN_ERROR, **fault(context, hint)}


def back_to_shelf(context: ApplyContext, row: AnyRow, message: str, details: str = "") -> dict[str, Any]:
    """It is on no host, and what it was is in its image. The fault says why it is not unshelved."""
    forget_failed_builds(context, row.server_id)
    return {**AT_REST, **off_host(context, row), **fault(context, message, details)}


def off_host(context: ApplyContext, row: AnyRow) -> dict[str, Any]:
    """Nothing of it is on any host; its ports keep their addresses, and are wired nowhere."""
    for port in ports_of_server(context, row.server_id):
        if port.host_id is not None or port.status != DOWN:
            write_port(context, port, host_id=None, status=DOWN)
    return {
        "vm_state": VmState.SHELVED_OFFLOADED.value,
        "power_state": PowerState.SHUTDOWN.value,
        "host_id": None,
    }


def _as_it_was(context: ApplyContext, row: AnyRow) -> dict[str, Any]:
    """Not shelved: its disk is where it was, and it is started again if it ran."""
    forget_shelved(context, row)
    if row.desired == Desired.STOPPED.value:
        return AT_REST
    return new_work(row, TaskState.POWERING_ON, deadline_ms=context.time_ms + RESTART_MS)
