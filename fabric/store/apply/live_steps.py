"""What becomes of a server whose live move goes on, ends or takes too long. Values of its row."""

from __future__ import annotations

from typing import Any

from fabric.core.moves.model import MoveStatus
from fabric.core.servers.states import PowerState, VmState
from fabric.store.apply.context import ApplyContext
from fabric.store.apply.move_rows import move_ports, write_move
from fabric.store.apply.server_rows import AT_REST, IN_ERROR, NO_FAULT, fault
from fabric.store.prepared import AnyRow

ABORT_MS = 180_000  # for a host to say how an abort has ended
CROSSES = frozenset({MoveStatus.PREPARING, MoveStatus.RUNNING, MoveStatus.FORCING})
_RUNS = {"power_state": PowerState.RUNNING.value}


def step_of_live(context: ApplyContext, row: AnyRow, move: AnyRow, said: str | None) -> dict[str, Any]:
    """The host that the guest was on says that it has left, or why it has not. That it is at the other one is
    for that one to say: until then the row shows it running here."""
    status = MoveStatus(move.status)
    if said is None:
        if status in CROSSES or status is MoveStatus.ABORTING:
            write_move(context, move, MoveStatus.POST_MIGRATING)
        return _RUNS
    if status is MoveStatus.POST_MIGRATING:
        return {}
    if status is MoveStatus.ABORTING and not move.message:
        write_move(context, move, MoveStatus.CANCELLED)
    else:
        write_move(context, move, MoveStatus.ERROR, message=move.message or said)
    return as_before(row, move)


def arrived_live(context: ApplyContext, row: AnyRow, move: AnyRow) -> dict[str, Any]:
    """It is the other host's from now on."""
    write_move(context, move, MoveStatus.COMPLETED)
    move_ports(context, row.server_id, move.dest_host_id)
    return {**as_before(row, move), **_RUNS, "host_id": move.dest_host_id}


def expired_live(context: ApplyContext, row: AnyRow, move: AnyRow, reason: str) -> dict[str, Any]:
    """First it is to be aborted, and ends as it was. Only when nobody says how that went, its state is not
    known; the first of both hosts that is back tells."""
    status = MoveStatus(move.status)
    if status is MoveStatus.QUEUED:
        write_move(context, move, MoveStatus.ERROR, message=reason)
        return AT_REST
    if status in CROSSES:
        write_move(context, move, MoveStatus.ABORTING, message=reason)
        return {"deadline_ms": context.time_ms + ABORT_MS}
    if status is MoveStatus.POST_MIGRATING:  # it is not where it was, that much is sure
        write_move(context, move, MoveStatus.ERROR, message=reason)
        move_ports(context, row.server_id, move.dest_host_id)
        there = f"{reason}; the guest has left for host {move.dest_name}, which does not answer"
        return {**IN_ERROR, "host_id": move.dest_host_id, **fault(context, there)}
    write_move(context, move, MoveStatus.ABORTING, message=move.message or reason)
    where = f"host {move.source_name}, or if it has left that, host {move.dest_name}, has the guest"
    return {**IN_ERROR, **fault(context, f"{reason}; {where}: it is settled when that answers again")}


def as_before(row: AnyRow, move: AnyRow) -> dict[str, Any]:
    if row.vm_state == VmState.ERROR.value:
        return {**AT_REST, **NO_FAULT, "vm_state": move.vm_state}
    return AT_REST
