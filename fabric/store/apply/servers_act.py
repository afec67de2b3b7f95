"""Users' actions, the scheduler's choice, and the reconciler of last resort. Messages in Nova's words."""

from __future__ import annotations

from fabric.core.servers.states import ALLOWED, DESIRED_OF, TASK_OF, TaskState, Verb, VmState
from fabric.store.apply.context import ApplyContext, Result, reject
from fabric.store.apply.lookups import need_host, need_server
from fabric.store.apply.move_rows import move_ports, open_move
from fabric.store.apply.move_steps import end_move_of, expired_move
from fabric.store.apply.placing import need_fence, take_in
from fabric.store.apply.registry import handles
from fabric.store.apply.server_rows import IN_ERROR, fault, need_generation, remove_server, write_server
from fabric.store.apply.shelve_steps import back_to_shelf, expired_shelving
from fabric.store.apply.shelved_rows import forget_shelved, shelved
from fabric.store.prepared import AnyRow
from proto.commands.servers import ServerAct, ServerExpire, ServerPlace, ServerUnplaceable

_SPOKEN = {Verb.REBOOT_SOFT: "reboot", Verb.REBOOT_HARD: "reboot"}  # what Nova calls the action
_WAITING = (
    (VmState.BUILDING.value, TaskState.SCHEDULING.value),
    (VmState.SHELVED_OFFLOADED.value, TaskState.UNSHELVING.value),
)


@handles(ServerPlace, lambda command: command.server_id)
def place_server(context: ApplyContext, command: ServerPlace) -> Result:
    need_fence(context, command.fence)
    row = need_server(context, command.server_id)
    _need_unplaced(row, command.read_generation)
    host = need_host(context, command.host_id)
    take_in(context, host, row)
    generation = int(row.generation) + 1
    write_server(
        context,
        row,
        {
            "host_id": command.host_id,
            "task_state": TaskState.SPAWNING.value,
            "action_generation": generation,
        },
    )
    move_ports(context, row.server_id, host.host_id)
    return {"generation": generation}


@handles(ServerUnplaceable, lambda command: command.server_id)
def fail_placement(context: ApplyContext, command: ServerUnplaceable) -> Result:
    need_fence(context, command.fence)
    row = need_server(context, command.server_id)
    _need_unplaced(row, command.read_generation)
    if row.task_state == TaskState.UNSHELVING.value:
        write_server(context, row, back_to_shelf(context, row, command.message, command.details))
        return {}
    write_server(context, row, {**IN_ERROR, **fault(context, command.message, command.details)})
    return {}


@handles(ServerAct, lambda command: command.server_id)
def act_on_server(context: ApplyContext, command: ServerAct) -> Result:
    """Result: `removed` (the row is gone already), `host_id` (who has to work now, or None), `hosts` (others
    that kept something for it)."""
    if command.verb not in [verb.value for verb in Verb]:
        reject("invalid", f"There is no action {command.verb}.")
    verb = Verb(command.verb)
    row = need_server(context, command.server_id)
    if verb is Verb.DELETE:
        if row.host_id is None:
            holders = forget_shelved(context, row)
            remove_server(context, row.server_id)
            gone = {"removed": True, "host_id": None}
            return {**gone, "hosts": holders} if holders else gone
        if row.task_state == TaskState.DELETING.value:
            return {"removed": False, "host_id": row.host_id}
        other = end_move_of(context, row)
        others = [*forget_shelved(context, row), *([] if other is None else [other])]
    else:
        others = []
        _need_allowed(context, row, verb)
    generation = int(row.generation) + 1
    write_server(
        context,
        row,
        {
            "task_state": TASK_OF[verb].value,
            "desired": DESIRED_OF[verb].value,
            "deadline_ms": command.deadline_ms,
            "request_id": command.request_id,
            "action_generation": generation,
        },
    )
    done = {"removed": False, "host_id": row.host_id, "generation": generation}
    return {**done, "hosts": others} if others else done


def _need_allowed(context: ApplyContext, row: AnyRow, verb: Verb) -> None:
    spoken = _SPOKEN.get(verb, verb.value)
    if VmState(row.vm_state) not in ALLOWED[verb]:
        reject(
            "bad_state",
            f"Cannot '{spoken}' instance {row.server_id} while it is in vm_state {row.vm_state}",
        )
    if row.host_id is None:
        reject("bad_state", f"Instance {row.server_id} is not ready: no host ever had it.")
    if row.task_state is not None:
        reject(
            "busy",
            f"Cannot '{spoken}' instance {row.server_id} while it is in task_state {row.task_state}",
        )
    if row.desired == DESIRED_OF[Verb.DELETE].value:
        reject(
            "bad_state",
            f"Cannot '{spoken}' instance {row.server_id}: its deletion failed half-way. Delete it again.",
        )
    if open_move(context, row) is not None:
        reject(
            "bad_state",
            f"Cannot '{spoken}' instance {row.server_id}: its move failed half-way. Take it back first "
            "(`revertResize`).",
        )
    if verb is Verb.STOP and shelved(context, row) is not None:
        reject(
            "bad_state",
            f"Cannot '{spoken}' instance {row.server_id}: its unshelving failed half-way. Reboot it hard "
            "first, which builds it from its image.",
        )


@handles(ServerExpire, lambda command: command.server_id)
def expire_server(context: ApplyContext, command: ServerExpire) -> Result:
    """`desired` and the action's generation stay: a host that ends the work late still heals the server."""
    row = need_server(context, command.server_id)
    need_generation(row, command.generation)
    if row.deadline_ms is None or context.time_ms < row.deadline_ms:
        reject("not_due", f"Instance {row.server_id} is not past its deadline.")
    if row.task_state == TaskState.DELETING.value:
        remove_server(context, row.server_id)
        return {"removed": True, "host_id": row.host_id}
    moved = expired_move(context, row, command.reason)
    if moved is not None:
        write_server(context, row, moved.values)
        return {"removed": False, "host_id": row.host_id, **moved.result}
    shelving = expired_shelving(context, row, command.reason)
    if shelving is not None:
        write_server(context, row, shelving)
        return {"removed": False, "host_id": row.host_id}
    write_server(context, row, {**IN_ERROR, **fault(context, command.reason)})
    return {"removed": False, "host_id": row.host_id}


def _need_unplaced(row: AnyRow, read_generation: int) -> None:
    need_generation(row, read_generation)
    if row.host_id is not None or (row.vm_state, row.task_state) not in _WAITING:
        reject("bad_state", f"Instance {row.server_id} is not waiting for a host.")
