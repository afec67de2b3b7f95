"""What hosts report. A host speaks only about servers that are its own."""

from __future__ import annotations

from typing import Any

from fabric.core.servers.states import RUNS, Desired, PowerState, VmState
from fabric.store.apply.context import ApplyContext, Result, reject
from fabric.store.apply.failed_builds import forget_failed_builds, to_be_tried_elsewhere
from fabric.store.apply.lookups import need_server
from fabric.store.apply.move_steps import step_of_move
from fabric.store.apply.registry import handles
from fabric.store.apply.server_rows import (
    AT_REST,
    IN_ERROR,
    NO_FAULT,
    fault,
    need_newest_work,
    need_own,
    remove_server,
    set_port_status,
    write_server,
)
from fabric.store.apply.shelve_steps import step_of_shelving
from fabric.store.apply.shelved_rows import forget_shelved
from fabric.store.prepared import AnyRow
from proto.commands.servers import ServerObserved, ServerRemoved

OFF = (PowerState.SHUTDOWN, PowerState.CRASHED, PowerState.NOSTATE)


@handles(ServerObserved, lambda command: command.server_id)
def observe_server(context: ApplyContext, command: ServerObserved) -> Result:
    row = need_server(context, command.server_id)
    need_own(row, command.host_id)
    if command.power_state not in [state.value for state in PowerState]:
        reject("invalid", f"There is no power state {command.power_state}.")
    power = PowerState(command.power_state)
    told: Result = {}
    if command.generation is None:
        values = _moved_by_itself(context, command, row, power)
    else:
        need_newest_work(row, command.generation)
        moved = step_of_move(context, command, row, power)
        if moved is not None:
            values, told = moved.values, moved.result
        else:
            values = _work_ended(context, command, row, power)
    result: dict[str, Any] = {**_write_changes(context, row, power, values), **told}
    if values.get("vm_state") != VmState.ACTIVE.value:
        return result
    holders = forget_shelved(context, row)  # a guest was built from it, and runs
    ends: Any = result.get("hosts", ())
    return {**result, "hosts": sorted({*ends, *holders})} if holders else result


@handles(ServerRemoved, lambda command: command.server_id)
def removed_from_host(context: ApplyContext, command: ServerRemoved) -> Result:
    row = need_server(context, command.server_id)
    need_own(row, command.host_id)
    if row.desired != Desired.ABSENT.value:
        reject("bad_state", f"Instance {row.server_id} is not being deleted.")
    remove_server(context, row.server_id)
    return {"removed": True}


def _work_ended(
    context: ApplyContext, command: ServerObserved, row: AnyRow, power: PowerState
) -> dict[str, Any]:
    """The work the host was given is done, or failed. Also told again later, after a restart."""
    shelving = step_of_shelving(context, command, row, power)
    if shelving is not None:
        return shelving
    if command.fault_message is not None:
        elsewhere = None
        if command.left_nothing:
            elsewhere = to_be_tried_elsewhere(context, row, command.fault_message)
        return elsewhere or _failed(context, command.fault_message, command.fault_details)
    desired = Desired(row.desired)
    if desired is Desired.ABSENT:
        return {}  # only ServerRemoved ends a deletion
    if desired is Desired.STOPPED:
        if power in OFF:
            return {**AT_REST, "vm_state": VmState.STOPPED.value, **NO_FAULT}
        return _failed(context, "The host reports that the guest still runs after it was to be stopped.")
    if power in RUNS:
        if row.vm_state in (VmState.BUILDING.value, VmState.SHELVED_OFFLOADED.value):
            forget_failed_builds(context, row.server_id)
        return {**AT_REST, "vm_state": VmState.ACTIVE.value, **NO_FAULT, **_first_launch(context, row)}
    if row.task_state is None and row.vm_state != VmState.ERROR.value:
        return _off_by_itself(row)
    if row.task_state is None:
        return {}
    return _failed(context, f"The guest did not stay up: the host reports power state {power.value}.")


def _first_launch(context: ApplyContext, row: AnyRow) -> dict[str, Any]:
    is_anew = row.launched_ms is None or row.vm_state == VmState.SHELVED_OFFLOADED.value
    launched = context.time_ms if is_anew else row.launched_ms
    return {"launched_ms": launched, "admin_pass": None}


def _moved_by_itself(
    context: ApplyContext, command: ServerObserved, row: AnyRow, power: PowerState
) -> dict[str, Any]:
    """The power state changed under us. While a task is under way only its own end counts."""
    if row.task_state is not None:
        reject("stale", f"Instance {row.server_id} has a task under way ({row.task_state}).")
    if command.fault_message is not None:
        return _failed(context, command.fault_message, command.fault_details)
    if power in OFF:
        return _off_by_itself(row)
    if power in RUNS and row.vm_state == VmState.STOPPED.value:
        return {"vm_state": VmState.ACTIVE.value, "desired": Desired.RUNNING.value}
    return {}


def _off_by_itself(row: AnyRow) -> dict[str, Any]:
    if row.vm_state == VmState.ACTIVE.value:
        return {"vm_state": VmState.STOPPED.value, "desired": Desired.STOPPED.value}
    return {}


def _failed(context: ApplyContext, message: str, details: str = "") -> dict[str, Any]:
    return {**IN_ERROR, **fault(context, message, details)}


def _write_changes(context: ApplyContext, row: AnyRow, power: PowerState, values: dict[str, Any]) -> Result:
    """Writes only what differs, so that a host may repeat itself without moving generations."""
    wanted = {"power_state": power.value, **values}
    changes = {name: value for name, value in wanted.items() if getattr(row, name) != value}
    if set(changes) == {"fault_ms"}:
        changes = {}
    if changes:
        write_server(context, row, changes)
    vm_state = wanted.get("vm_state", row.vm_state)
    set_port_status(context, row.server_id, running=power in RUNS)
    is_unplaced = "host_id" in changes and changes["host_id"] is None
    return {"changed": bool(changes), "vm_state": vm_state, **({"unplaced": True} if is_unplaced else {})}
