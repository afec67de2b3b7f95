"""A build that failed is tried on another host, as Nova does, a few times: the first may lack nothing but a
disk that works. At level 2; before, and where there is no other host, it is the server's fault at once."""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, delete, func, insert, select

from fabric.core.servers.states import Desired, PowerState, TaskState, VmState
from fabric.store import tables as t
from fabric.store.apply.context import ApplyContext, single
from fabric.store.apply.ports import DOWN, ports_of_server, write_port
from fabric.store.prepared import AnyRow, prepared
from fabric.store.tables import level2

TRIES_MAX = 3  # Nova's `max_attempts`

_F = level2.failed_builds.c
_NOTE = prepared(insert(level2.failed_builds))
_FORGET = prepared(delete(level2.failed_builds).where(_F.server_id == bindparam("gone")))
_COUNT = prepared(single(select(func.count()).where(_F.server_id == bindparam("server_id"))))
_OTHERS = prepared(  # hosts that could still be tried
    single(
        select(func.count())
        .where(t.hosts.c.enabled, ~t.hosts.c.forced_down, t.hosts.c.host_id != bindparam("host_id"))
        .where(t.hosts.c.host_id.not_in(select(_F.host_id).where(_F.server_id == bindparam("server_id"))))
    )
)


def to_be_tried_elsewhere(context: ApplyContext, row: AnyRow, message: str) -> dict[str, Any] | None:
    """What the server's row becomes; None: it is not tried again. The host has said that nothing of it is
    left there, and that it will not build it any more: no server may be on two hosts."""
    if row.vm_state != VmState.BUILDING.value or row.task_state != TaskState.SPAWNING.value:
        return None
    if row.desired != Desired.RUNNING.value or row.host_wanted is not None or not context.is_at(level2.LEVEL):
        return None
    return tried_elsewhere(context, row, message, TaskState.SCHEDULING)


def tried_elsewhere(
    context: ApplyContext, row: AnyRow, message: str, task: TaskState
) -> dict[str, Any] | None:
    """It waits for another host, in that task. None: there is none left that it could go to, or it has been
    tried often enough."""
    tried = {"server_id": row.server_id}
    others = {**tried, "host_id": row.host_id}
    if context.number(_COUNT, tried) + 1 >= TRIES_MAX or not context.number(_OTHERS, others):
        return None
    context.write(_NOTE, {**others, "message": message, "failed_ms": context.time_ms})
    for port in ports_of_server(context, row.server_id):
        write_port(context, port, host_id=None, status=DOWN)
    return {
        "host_id": None,
        "task_state": task.value,
        "power_state": PowerState.NOSTATE.value,
    }


def forget_failed_builds(context: ApplyContext, server_id: str) -> None:
    """It runs, or is gone."""
    if context.is_at(level2.LEVEL):
        context.write(_FORGET, {"gone": server_id})
