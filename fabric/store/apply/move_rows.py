"""Reading and writing the rows of moves, and what of a server's row and ports goes with them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update

from fabric.core.moves.model import OPEN, MoveStatus, may_be_moving
from fabric.core.servers.states import TaskState
from fabric.store.apply.context import ApplyContext, single
from fabric.store.apply.host_zone import zone_of
from fabric.store.apply.lookups import need_host
from fabric.store.apply.ports import BUILD, ports_of_server, write_port
from fabric.store.prepared import AnyRow, prepared
from fabric.store.tables import level3

HISTORY_MAX = 100_000  # ended moves that are remembered
PRUNED_EVERY = 1_000

_M = level3.moves.c
_OPEN = prepared(
    single(select(level3.moves).where(_M.server_id == bindparam("server_id"), _M.is_open.is_(True)))
)
_INSERT = prepared(insert(level3.moves))
_UPDATE = prepared(update(level3.moves).where(_M.move_id == bindparam("key")))


def open_move(context: ApplyContext, row: AnyRow) -> AnyRow | None:
    """The move of that server's that is not over. Most servers cannot have one, which costs no look."""
    if not may_be_moving(row.vm_state, row.task_state):
        return None
    if not context.is_at(level3.LEVEL):
        return None
    return context.row(_OPEN, {"server_id": row.server_id})


def insert_move(context: ApplyContext, values: dict[str, Any]) -> None:
    number = values["number"]
    if number % PRUNED_EVERY == 0:
        old = (_M.number <= number - HISTORY_MAX) & _M.is_open.is_(False)
        context.write(delete(level3.moves).where(old))
    stamp = {"created_ms": context.time_ms, "updated_ms": context.time_ms}
    context.write(_INSERT, {**values, **stamp, "is_open": True, "message": ""})


def write_move(context: ApplyContext, move: AnyRow, status: MoveStatus, **values: Any) -> None:
    """A status that ends it lets go of what it held."""
    ends = {} if status in OPEN else {"is_open": False, "held_host_id": None}
    stamp = {"status": status.value, "updated_ms": context.time_ms}
    context.write(_UPDATE, {"key": move.move_id, **values, **stamp, **ends})


def move_ports(context: ApplyContext, server_id: str, host_id: str) -> None:
    """They are wired there from now on."""
    owner = f"compute:{zone_of(context, need_host(context, host_id))}"
    for port in ports_of_server(context, server_id):
        write_port(context, port, host_id=host_id, status=BUILD, device_owner=owner)


def new_work(row: AnyRow, task: TaskState, **values: Any) -> dict[str, Any]:
    """Of a server's row: its host has that to do now."""
    return {**values, "task_state": task.value, "action_generation": int(row.generation) + 1}
