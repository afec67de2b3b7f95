"""What comes of a move when a host reports, when nobody does until its deadline, and when its server goes.

Each gives what the server's row becomes. The disks that a server left are kept by the host it left until the
move is over, so that of every way to fail one leads back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fabric.core.moves.model import ENDED_BADLY, MoveKind, MoveStatus
from fabric.core.servers.states import RUNS, Desired, PowerState, TaskState, VmState
from fabric.store.apply.context import ApplyContext, reject
from fabric.store.apply.live_steps import expired_live, step_of_live
from fabric.store.apply.move_rows import move_ports, new_work, open_move, write_move
from fabric.store.apply.server_rows import AT_REST, IN_ERROR, NO_FAULT, fault
from fabric.store.prepared import AnyRow
from proto.commands.servers import ServerObserved

ARRIVED, FAILED = "arrived", "failed"  # `move` in results
WHY_CHARS_MAX = 300
RESTART_MS = 180_000  # for a guest to be started again where it came from: as long as for a start

_Step = Callable[[ApplyContext, AnyRow, AnyRow, str | None], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class MoveStep:
    values: dict[str, Any]  # what the server's row becomes
    result: dict[str, Any]  # `hosts` (both ends), and where it comes to something `move` and `why`


def step_of_move(
    context: ApplyContext, command: ServerObserved, row: AnyRow, power: PowerState
) -> MoveStep | None:
    """What a host's report on the work that it was given makes of the server. None: it was no move's."""
    move = open_move(context, row)
    if move is None or row.desired == Desired.ABSENT.value:
        return None
    if move.dest_host_id is None:
        reject("stale", f"Instance {row.server_id} waits for another host: its own has nothing to do.")
    found = _reported_step(row, move)
    if found is None:
        return MoveStep({}, {})  # told again: the move is further by now
    step, wanted = found
    said = _what_went_wrong(command, power, wanted)
    values = step(context, row, move, said)
    if said is not None:
        return MoveStep(values, {"hosts": ends_of(move), **failed(said)})
    is_there = values.get("task_state", "") is None or move.kind == MoveKind.EVACUATION.value
    return MoveStep(values, {"hosts": ends_of(move), **({"move": ARRIVED} if is_there else {})})


def ends_of(move: AnyRow) -> list[str]:
    """Both its hosts, as far as it has them: what is held on either may be another now."""
    return sorted({move.source_host_id, move.dest_host_id} - {None})


def failed(why: str) -> dict[str, Any]:
    """Of a command's result, for those who follow what happens."""
    return {"move": FAILED, "why": why.partition("\n")[0][:WHY_CHARS_MAX]}


def _reported_step(row: AnyRow, move: AnyRow) -> tuple[_Step, Desired | None] | None:
    """What the host was told to do, and what its guest should be after that. None: anything."""
    status = MoveStatus(move.status)
    if move.kind == MoveKind.LIVE.value:
        return step_of_live, None
    if move.kind == MoveKind.EVACUATION.value:
        return _built, Desired.RUNNING
    if status is MoveStatus.MIGRATING:
        return _left, Desired.STOPPED
    if status is MoveStatus.POST_MIGRATING:
        return _arrived, None if row.desired == Desired.STOPPED.value else Desired.RUNNING
    if status is MoveStatus.FINISHED and row.task_state == TaskState.RESIZE_REVERTING.value:
        is_back = row.host_id == move.source_host_id
        return (_is_back, Desired.RUNNING) if is_back else (_stopped_there, Desired.STOPPED)
    return None


def _what_went_wrong(command: ServerObserved, power: PowerState, wanted: Desired | None) -> str | None:
    if command.fault_message is not None:
        details = f"\n{command.fault_details}" if command.fault_details else ""
        return f"{command.fault_message}{details}"
    if wanted is Desired.STOPPED and power in RUNS:
        return "the guest still runs after it was to be stopped"
    if wanted is Desired.RUNNING and power not in RUNS:
        return f"the guest did not stay up: the host reports power state {power.value}"
    return None


def no_host_for(context: ApplyContext, move: AnyRow, message: str, details: str = "") -> dict[str, Any]:
    """It never left. An evacuated server is on a dead host, which is an error; others go on as they were."""
    write_move(context, move, ENDED_BADLY[MoveKind(move.kind)], message=message)
    if move.kind == MoveKind.EVACUATION.value:
        return {**IN_ERROR, **fault(context, message, details)}
    return AT_REST


def taken_back(context: ApplyContext, row: AnyRow, move: AnyRow) -> dict[str, Any]:
    """To the host that it left, whose disks are as they were. What the other host has is nobody's."""
    move_ports(context, row.server_id, move.source_host_id)
    back = {"host_id": move.source_host_id, "power_state": PowerState.SHUTDOWN.value}
    if row.desired == Desired.STOPPED.value:
        write_move(context, move, MoveStatus.REVERTED)
        return {**AT_REST, **back, **NO_FAULT, "vm_state": VmState.STOPPED.value}
    write_move(context, move, MoveStatus.FINISHED, held_host_id=None)
    return new_work(row, TaskState.RESIZE_REVERTING, **back)


def expired_move(context: ApplyContext, row: AnyRow, reason: str) -> MoveStep | None:
    """Its deadline has passed. None: the server was not moving."""
    move = open_move(context, row)
    if move is None:
        return None
    return MoveStep(_expired(context, row, move, reason), {"hosts": ends_of(move), **failed(reason)})


def _expired(context: ApplyContext, row: AnyRow, move: AnyRow, reason: str) -> dict[str, Any]:
    task = row.task_state
    if move.kind == MoveKind.LIVE.value:
        return expired_live(context, row, move, reason)
    if move.kind == MoveKind.EVACUATION.value:
        return _not_evacuated(context, row, move, reason)
    if task in (TaskState.RESIZE_PREP.value, TaskState.RESIZE_MIGRATING.value):
        return no_host_for(context, move, reason)
    if task == TaskState.RESIZE_REVERTING.value and row.host_id != move.source_host_id:
        write_move(context, move, MoveStatus.FINISHED, message=reason)
        return AT_REST  # it is still where it was, and may be asked again
    if task == TaskState.RESIZE_REVERTING.value:
        write_move(context, move, MoveStatus.REVERTED, message=reason)
        return {**IN_ERROR, **fault(context, reason)}
    # Whether it runs at the other host nobody knows. It is not started here meanwhile: one guest, not two.
    write_move(context, move, MoveStatus.POST_MIGRATING, message=reason)
    hint = f"{reason}; `revertResize` takes it back to host {move.source_name}, where its disks are kept"
    return {**IN_ERROR, **fault(context, hint)}


def end_move_of(context: ApplyContext, row: AnyRow) -> str | None:
    """The server is deleted: nothing is kept for it elsewhere. Gives the other host, if there is one."""
    move = open_move(context, row)
    if move is None:
        return None
    finished = move.status == MoveStatus.FINISHED.value
    write_move(context, move, MoveStatus.CONFIRMED if finished else ENDED_BADLY[MoveKind(move.kind)])
    other: str | None = move.dest_host_id if row.host_id == move.source_host_id else move.source_host_id
    return other


def _left(context: ApplyContext, row: AnyRow, move: AnyRow, said: str | None) -> dict[str, Any]:
    """The guest was to be stopped where it is."""
    if said is not None:
        write_move(context, move, MoveStatus.ERROR, message=said)
        return AT_REST if row.desired == Desired.STOPPED.value else _start_again(context, row)
    write_move(context, move, MoveStatus.POST_MIGRATING, held_host_id=move.source_host_id)
    move_ports(context, row.server_id, move.dest_host_id)
    deadline_ms = context.time_ms + move.arrive_ms
    return new_work(row, TaskState.RESIZE_FINISH, host_id=move.dest_host_id, deadline_ms=deadline_ms)


def _arrived(context: ApplyContext, row: AnyRow, move: AnyRow, said: str | None) -> dict[str, Any]:
    if said is not None:
        write_move(context, move, MoveStatus.ERROR, message=said)
        move_ports(context, row.server_id, move.source_host_id)
        back = {"host_id": move.source_host_id, **NO_FAULT}
        if row.desired == Desired.STOPPED.value:
            return {**AT_REST, **back, "vm_state": VmState.STOPPED.value}
        return {**_start_again(context, row), **back}
    write_move(context, move, MoveStatus.FINISHED)
    return {**AT_REST, **NO_FAULT, "vm_state": VmState.RESIZED.value}


def _start_again(context: ApplyContext, row: AnyRow) -> dict[str, Any]:
    return new_work(row, TaskState.POWERING_ON, deadline_ms=context.time_ms + RESTART_MS)


def _stopped_there(context: ApplyContext, row: AnyRow, move: AnyRow, said: str | None) -> dict[str, Any]:
    """On its way back the guest was to be stopped at the host it went to."""
    if said is not None:
        write_move(context, move, MoveStatus.FINISHED, message=said)
        return AT_REST
    return taken_back(context, row, move)


def _is_back(context: ApplyContext, row: AnyRow, move: AnyRow, said: str | None) -> dict[str, Any]:
    write_move(context, move, MoveStatus.REVERTED, message=said or "")
    if said is not None:
        return {**IN_ERROR, **fault(context, said)}
    return {**AT_REST, **NO_FAULT, "vm_state": VmState.ACTIVE.value}


def _built(context: ApplyContext, row: AnyRow, move: AnyRow, said: str | None) -> dict[str, Any]:
    if said is not None:
        return _not_evacuated(context, row, move, said)
    write_move(context, move, MoveStatus.DONE)
    runs = {**AT_REST, **NO_FAULT, "vm_state": VmState.ACTIVE.value, "launched_ms": context.time_ms}
    if not move.stays_off:
        return {**runs, "desired": Desired.RUNNING.value}
    stopping = new_work(row, TaskState.POWERING_OFF, deadline_ms=context.time_ms + RESTART_MS)
    return {**runs, **stopping, "desired": Desired.STOPPED.value}


def _not_evacuated(context: ApplyContext, row: AnyRow, move: AnyRow, message: str) -> dict[str, Any]:
    """It is its dead host's again, which may have its disks still, should it come back."""
    write_move(context, move, MoveStatus.FAILED, message=message)
    if row.host_id != move.source_host_id:
        move_ports(context, row.server_id, move.source_host_id)
    return {**IN_ERROR, "host_id": move.source_host_id, **fault(context, message)}
