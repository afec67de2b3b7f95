"""Live moves: what hosts say of them beside their reports, and what users want of those under way."""

from __future__ import annotations

from fabric.core.moves.model import MoveKind, MoveStatus
from fabric.store.apply.context import ApplyContext, Result, reject
from fabric.store.apply.live_steps import CROSSES, arrived_live, as_before
from fabric.store.apply.lookups import need_server
from fabric.store.apply.move_rows import open_move, write_move
from fabric.store.apply.move_steps import ends_of
from fabric.store.apply.registry import handles
from fabric.store.apply.server_rows import set_port_status, write_server
from fabric.store.prepared import AnyRow
from proto.commands.moves import MoveAbort, MoveArrived, MoveForce, MoveRunning


@handles(MoveRunning, lambda command: command.server_id)
def note_running(context: ApplyContext, command: MoveRunning) -> Result:
    row = need_server(context, command.server_id)
    move = _need_live(context, row, command.move_id)
    _need_host(row, command.host_id, move.source_host_id)
    if move.status == MoveStatus.PREPARING.value:
        write_move(context, move, MoveStatus.RUNNING)
    elif move.status != MoveStatus.RUNNING.value:
        _reject_state(row, move, "begin")
    return {}


@handles(MoveArrived, lambda command: command.server_id)
def note_arrival(context: ApplyContext, command: MoveArrived) -> Result:
    row = need_server(context, command.server_id)
    move = _need_live(context, row, command.move_id)
    _need_host(row, command.host_id, move.dest_host_id)
    if MoveStatus(move.status) not in CROSSES | {MoveStatus.ABORTING, MoveStatus.POST_MIGRATING}:
        _reject_state(row, move, "end")
    write_server(context, row, arrived_live(context, row, move))
    set_port_status(context, row.server_id, running=True)
    return {"hosts": ends_of(move)}


@handles(MoveAbort, lambda command: command.server_id)
def abort_move(context: ApplyContext, command: MoveAbort) -> Result:
    """Result: `hosts`. Asked again when its host could not be asked, it ends as far as rows go."""
    row = need_server(context, command.server_id)
    move = _need_live(context, row, command.move_id)
    status = MoveStatus(move.status)
    request = {"request_id": command.request_id}
    if status is MoveStatus.QUEUED or (status is MoveStatus.ABORTING and row.task_state is None):
        write_move(context, move, MoveStatus.CANCELLED)
        write_server(context, row, {**as_before(row, move), **request})
    elif status in CROSSES:
        write_move(context, move, MoveStatus.ABORTING)
        write_server(context, row, request)
    elif status is not MoveStatus.ABORTING:
        _reject_state(row, move, "abort")
    return {"hosts": ends_of(move)}


@handles(MoveForce, lambda command: command.server_id)
def force_move(context: ApplyContext, command: MoveForce) -> Result:
    row = need_server(context, command.server_id)
    move = _need_live(context, row, command.move_id)
    if move.status == MoveStatus.RUNNING.value:
        write_move(context, move, MoveStatus.FORCING)
        write_server(context, row, {"request_id": command.request_id})
    elif move.status != MoveStatus.FORCING.value:
        _reject_state(row, move, "force_complete")
    return {"hosts": [move.source_host_id]}


def end_with_its_host(context: ApplyContext, row: AnyRow) -> list[str]:
    """The host that the guest was leaving is given up: what was under way died with it. Gives the other."""
    move = open_move(context, row)
    if move is None or move.kind != MoveKind.LIVE.value or move.status == MoveStatus.POST_MIGRATING.value:
        return []
    write_move(context, move, MoveStatus.ERROR, message="its host went down, and the instance was evacuated")
    return [] if move.dest_host_id is None else [move.dest_host_id]


def _need_live(context: ApplyContext, row: AnyRow, move_id: str) -> AnyRow:
    move = open_move(context, row)
    if move is None or move.move_id != move_id or move.kind != MoveKind.LIVE.value:
        reject("bad_state", f"Migration {move_id} of instance {row.server_id} is not in progress.")
    return move


def _need_host(row: AnyRow, host_id: str, wanted: str | None) -> None:
    if host_id != wanted:
        reject("forbidden", f"Instance {row.server_id} does not move by way of host {host_id}.")


def _reject_state(row: AnyRow, move: AnyRow, verb: str) -> None:
    reject(
        "bad_state",
        f"Migration {move.number} state of instance {row.server_id} is {move.status}. "
        f"Cannot {verb} while the migration is in this state.",
    )
