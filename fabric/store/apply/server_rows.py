"""Reading and writing server rows: every write bumps the generation and names the entry."""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, delete, update

from fabric.core.servers.states import LEGAL, VmState
from fabric.store import tables as t
from fabric.store.apply.context import ApplyContext, reject
from fabric.store.apply.failed_builds import forget_failed_builds
from fabric.store.apply.grants import take_back
from fabric.store.apply.ports import ACTIVE, DOWN, ports_of_server, release_ports, write_port
from fabric.store.apply.server_groups import leave_group
from fabric.store.prepared import AnyRow, prepared
from fabric.store.tables import level2

FAULT_CODE = 500  # Nova's code for what went wrong on our side
AT_REST: dict[str, Any] = {"task_state": None, "deadline_ms": None}
IN_ERROR: dict[str, Any] = {**AT_REST, "vm_state": VmState.ERROR.value}
NO_FAULT = {"fault_code": None, "fault_message": None, "fault_details": None, "fault_ms": None}

_UPDATE = prepared(update(t.servers).where(t.servers.c.server_id == bindparam("key")))
_DELETE = prepared(delete(t.servers).where(t.servers.c.server_id == bindparam("key")))
_DELETE_HINTS = prepared(
    delete(level2.server_hints).where(level2.server_hints.c.server_id == bindparam("gone"))
)


def write_server(context: ApplyContext, row: AnyRow, values: dict[str, Any]) -> int:
    """Writes `values` and the bookkeeping of a change; gives the new generation."""
    after = values.get("vm_state")
    if after is not None and after != row.vm_state:
        assert VmState(after) in LEGAL[VmState(row.vm_state)], (row.vm_state, after)
    generation = int(row.generation) + 1
    stamp = {"generation": generation, "updated_ms": context.time_ms, "changed_index": context.index}
    context.write(_UPDATE, {"key": row.server_id, **values, **stamp})
    return generation


def fault(context: ApplyContext, message: str, details: str = "") -> dict[str, Any]:
    """Column values of a fault that is written now."""
    return {
        "fault_code": FAULT_CODE,
        "fault_message": message,
        "fault_details": details,
        "fault_ms": context.time_ms,
    }


def set_port_status(context: ApplyContext, server_id: str, *, running: bool) -> None:
    status = ACTIVE if running else DOWN
    for port in ports_of_server(context, server_id):
        if port.status != status:
            write_port(context, port, status=status)


def remove_server(context: ApplyContext, server_id: str) -> None:
    """Nothing about it stays but request rows and the audit trail."""
    release_ports(context, server_id)
    if context.is_at(level2.LEVEL):
        leave_group(context, server_id)
        context.write(_DELETE_HINTS, {"gone": server_id})
        forget_failed_builds(context, server_id)
        take_back(context, server_id)
    context.write(_DELETE, {"key": server_id})


def need_own(row: AnyRow, host_id: str) -> None:
    """A host speaks only about servers that are its own."""
    if row.host_id != host_id:
        reject("forbidden", f"Instance {row.server_id} is not on host {host_id}.")


def need_newest_work(row: AnyRow, generation: int) -> None:
    if generation != row.action_generation:
        reject(
            "stale",
            f"Instance {row.server_id} has newer work (generation {row.action_generation}, "
            f"not {generation}).",
        )


def need_generation(row: AnyRow, read_generation: int) -> None:
    if row.generation != read_generation:
        reject(
            "stale",
            f"Instance {row.server_id} changed meanwhile "
            f"(generation {row.generation}, not {read_generation}).",
        )
