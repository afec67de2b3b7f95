"""Moves: begun, placed, confirmed, taken back. What hosts report of them: `move_steps.py`."""

from __future__ import annotations

from fabric.core.moves.model import FIRST_STATUS, FIRST_TASK, MoveKind, MoveStatus, cannot_in, why_not_now
from fabric.core.servers.states import Desired, TaskState, VmState
from fabric.store.apply.context import ApplyContext, Result, reject
from fabric.store.apply.live_moves import end_with_its_host
from fabric.store.apply.lookups import need_host, need_server
from fabric.store.apply.move_rows import (
    insert_move,
    move_ports,
    new_work,
    open_move,
    write_move,
)
from fabric.store.apply.move_steps import no_host_for, taken_back
from fabric.store.apply.numbers import next_number
from fabric.store.apply.placing import need_fence, take_in
from fabric.store.apply.registry import handles
from fabric.store.apply.server_rows import need_generation, write_server
from fabric.store.claims import SIZES
from fabric.store.prepared import AnyRow
from proto.commands.moves import MoveBegin, MoveConfirm, MovePlace, MoveRevert, MoveUnplaceable

NUMBER = "move_number"


@handles(MoveBegin, lambda command: command.server_id)
def begin_move(context: ApplyContext, command: MoveBegin) -> Result:
    """Result: `number`."""
    if command.kind not in [kind.value for kind in MoveKind]:
        reject("invalid", f"There is no kind of move {command.kind}.")
    kind = MoveKind(command.kind)
    row = need_server(context, command.server_id)
    ends = [] if kind is not MoveKind.EVACUATION else end_with_its_host(context, row)
    _need_movable(context, row, kind)
    if row.host_id != command.source_host_id:
        reject("conflict", f"Instance {row.server_id} is on another host now.")
    source = need_host(context, command.source_host_id)
    number = next_number(context, NUMBER)
    insert_move(
        context,
        {
            "move_id": command.move_id,
            "number": number,
            "server_id": row.server_id,
            "project_id": row.project_id,
            "user_id": command.user_id,
            "kind": kind.value,
            "status": FIRST_STATUS[kind].value,
            "source_host_id": source.host_id,
            "source_name": source.name,
            "host_wanted": command.host_name,
            "stays_off": command.stays_off or row.desired == Desired.STOPPED.value,
            "arrive_ms": command.arrive_ms,
            "vm_state": row.vm_state,
            "flavor_id": row.flavor_id,
            **{column.name: getattr(row, column.name) for column in SIZES},
        },
    )
    # Work of its own, though the host has none yet: what it says of earlier work is late from now on.
    begun = new_work(row, FIRST_TASK[kind], deadline_ms=command.deadline_ms, request_id=command.request_id)
    write_server(context, row, begun)
    return {"number": number, "hosts": sorted({source.host_id, *ends})}


def _need_movable(context: ApplyContext, row: AnyRow, kind: MoveKind) -> None:
    why_not = why_not_now(kind, row.server_id, VmState(row.vm_state))
    if why_not is not None:
        reject("bad_state", why_not)
    if row.host_id is None:
        reject("bad_state", f"Instance {row.server_id} is not ready: no host ever had it.")
    is_deleted = row.desired == Desired.ABSENT.value or row.task_state == TaskState.DELETING.value
    # An evacuation does not wait for what its dead host was about to do.
    if is_deleted or (row.task_state is not None and kind is not MoveKind.EVACUATION):
        reject("busy", cannot_in(kind, row.server_id, f"task_state {row.task_state}"))
    if open_move(context, row) is not None:
        other = "the middle of another move; end that first: confirm it, or take it back"
        reject("busy", cannot_in(kind, row.server_id, other))


@handles(MovePlace, lambda command: command.server_id)
def place_move(context: ApplyContext, command: MovePlace) -> Result:
    need_fence(context, command.fence)
    row = need_server(context, command.server_id)
    move = _need_waiting(context, row, command.move_id, command.read_generation)
    if command.host_id == move.source_host_id:
        reject("bad_state", f"Instance {row.server_id} is on host {move.source_name} already.")
    host = need_host(context, command.host_id)
    take_in(context, host, row)
    to = {"dest_host_id": host.host_id, "dest_name": host.name}
    if move.kind == MoveKind.EVACUATION.value:
        write_move(context, move, MoveStatus.PRE_MIGRATING, **to, held_host_id=move.source_host_id)
        values = new_work(
            row,
            TaskState.REBUILD_SPAWNING,
            host_id=host.host_id,
            deadline_ms=context.time_ms + move.arrive_ms,
        )
        move_ports(context, row.server_id, host.host_id)
    elif move.kind == MoveKind.LIVE.value:
        write_move(context, move, MoveStatus.PREPARING, **to, held_host_id=host.host_id)
        values = new_work(row, TaskState.MIGRATING, deadline_ms=context.time_ms + move.arrive_ms)
    else:
        write_move(context, move, MoveStatus.MIGRATING, **to, held_host_id=host.host_id)
        values = new_work(row, TaskState.RESIZE_MIGRATING)
    generation = write_server(context, row, values)
    return {"generation": generation, "hosts": sorted({host.host_id, move.source_host_id})}


@handles(MoveUnplaceable, lambda command: command.server_id)
def fail_move(context: ApplyContext, command: MoveUnplaceable) -> Result:
    need_fence(context, command.fence)
    row = need_server(context, command.server_id)
    move = _need_waiting(context, row, command.move_id, command.read_generation)
    write_server(context, row, no_host_for(context, move, command.message, command.details))
    return {"hosts": [move.source_host_id]}


def _need_waiting(context: ApplyContext, row: AnyRow, move_id: str, read_generation: int) -> AnyRow:
    need_generation(row, read_generation)
    move = open_move(context, row)
    if move is None or move.move_id != move_id or move.dest_host_id is not None:
        reject("bad_state", f"Instance {row.server_id} has no such move that waits for a host.")
    if row.task_state != FIRST_TASK[MoveKind(move.kind)].value:
        reject("bad_state", f"Instance {row.server_id} does not wait for a host.")
    return move


@handles(MoveConfirm, lambda command: command.server_id)
def confirm_move(context: ApplyContext, command: MoveConfirm) -> Result:
    row = need_server(context, command.server_id)
    move = _need_arrived(context, row, "confirmResize", (VmState.RESIZED,))
    write_move(context, move, MoveStatus.CONFIRMED)
    runs = row.desired == Desired.RUNNING.value
    state = VmState.ACTIVE if runs else VmState.STOPPED
    write_server(context, row, {"vm_state": state.value, "request_id": command.request_id})
    return {"hosts": [move.source_host_id]}


@handles(MoveRevert, lambda command: command.server_id)
def revert_move(context: ApplyContext, command: MoveRevert) -> Result:
    row = need_server(context, command.server_id)
    move = _need_arrived(context, row, "revertResize", (VmState.RESIZED, VmState.ERROR))
    values = {"deadline_ms": command.deadline_ms, "request_id": command.request_id}
    if command.is_dest_gone:
        values |= taken_back(context, row, move)
    else:
        write_move(context, move, MoveStatus.FINISHED)
        values |= new_work(row, TaskState.RESIZE_REVERTING)
    write_server(context, row, values)
    return {"hosts": sorted({move.source_host_id, row.host_id})}


def _need_arrived(context: ApplyContext, row: AnyRow, action: str, allowed: tuple[VmState, ...]) -> AnyRow:
    move = open_move(context, row)
    if VmState(row.vm_state) not in allowed or move is None:
        reject(
            "bad_state", f"Cannot '{action}' instance {row.server_id} while it is in vm_state {row.vm_state}"
        )
    if row.task_state is not None:
        reject(
            "busy",
            f"Cannot '{action}' instance {row.server_id} while it is in task_state {row.task_state}",
        )
    if move.kind != MoveKind.MIGRATION.value or move.held_host_id != move.source_host_id:
        reject("bad_state", f"Instance {row.server_id} has not gone anywhere from where it could come back.")
    return move
