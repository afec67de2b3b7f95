"""Users' actions, the scheduler's choice, and the reconciler of last resort. Messages in Nova's words."""

from __future__ import annotations

from sqlalchemy import bindparam, func, select

from fabric.core.servers.states import ALLOWED, DESIRED_OF, TASK_OF, TaskState, Verb, VmState
from fabric.store import tables as t
from fabric.store.apply.context import ApplyContext, Result, reject, single
from fabric.store.apply.host_offers import need_offered
from fabric.store.apply.host_zone import zone_of
from fabric.store.apply.lookups import need_host, need_server
from fabric.store.apply.ports import BUILD, ports_of_server, write_port
from fabric.store.apply.registry import handles
from fabric.store.apply.server_groups import need_policy
from fabric.store.apply.server_rows import fault, need_generation, remove_server, write_server
from fabric.store.prepared import AnyRow, kept, prepared
from proto.commands.servers import ServerAct, ServerExpire, ServerPlace, ServerUnplaceable

SCHEDULER = "scheduler"
MILLI = 1_000

_SPOKEN = {Verb.REBOOT_SOFT: "reboot", Verb.REBOOT_HARD: "reboot"}  # what Nova calls the action
_GRANT = kept(single(select(t.role_grants.c.fence).where(t.role_grants.c.role == bindparam("role"))))
_CLAIMS = prepared(
    single(
        select(
            func.sum(t.servers.c.vcpus),
            func.sum(t.servers.c.memory_mb),
            func.sum(t.servers.c.root_gb + t.servers.c.ephemeral_gb),
            func.sum(t.servers.c.swap_mb),
        ).where(t.servers.c.host_id == bindparam("host_id"))
    )
)


@handles(ServerPlace, lambda command: command.server_id)
def place_server(context: ApplyContext, command: ServerPlace) -> Result:
    _need_fence(context, command.fence)
    row = need_server(context, command.server_id)
    _need_unplaced(row, command.read_generation)
    host = need_host(context, command.host_id)
    if not host.enabled or host.forced_down:
        state = "forced down" if host.forced_down else "disabled"
        reject("host_disabled", f"Compute host {host.name} is {state}.")
    _need_capacity(context, host, row)
    need_policy(context, row.server_id, host)
    need_offered(context, host, row)
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
    owner = f"compute:{zone_of(context, host)}"
    for port in ports_of_server(context, row.server_id):
        write_port(context, port, host_id=command.host_id, status=BUILD, device_owner=owner)
    return {"generation": generation}


@handles(ServerUnplaceable, lambda command: command.server_id)
def fail_placement(context: ApplyContext, command: ServerUnplaceable) -> Result:
    _need_fence(context, command.fence)
    row = need_server(context, command.server_id)
    _need_unplaced(row, command.read_generation)
    failed = {"vm_state": VmState.ERROR.value, "task_state": None, "deadline_ms": None}
    write_server(context, row, {**failed, **fault(context, command.message, command.details)})
    return {}


@handles(ServerAct, lambda command: command.server_id)
def act_on_server(context: ApplyContext, command: ServerAct) -> Result:
    """Result: `removed` (the row is gone already), `host_id` (who has to work now, or None)."""
    if command.verb not in [verb.value for verb in Verb]:
        reject("invalid", f"There is no action {command.verb}.")
    verb = Verb(command.verb)
    row = need_server(context, command.server_id)
    if verb is Verb.DELETE:
        if row.host_id is None:
            remove_server(context, row.server_id)
            return {"removed": True, "host_id": None}
        if row.task_state == TaskState.DELETING.value:
            return {"removed": False, "host_id": row.host_id}
    else:
        _need_allowed(row, verb)
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
    return {"removed": False, "host_id": row.host_id, "generation": generation}


def _need_allowed(row: AnyRow, verb: Verb) -> None:
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
    failed = {"vm_state": VmState.ERROR.value, "task_state": None, "deadline_ms": None}
    write_server(context, row, {**failed, **fault(context, command.reason)})
    return {"removed": False, "host_id": row.host_id}


def _need_fence(context: ApplyContext, fence: int) -> None:
    grant = context.row(_GRANT, {"role": SCHEDULER})
    if grant is not None and fence < grant.fence:
        reject("fenced", f"A newer scheduler holds the role (fence {grant.fence}, not {fence}).")


def _need_unplaced(row: AnyRow, read_generation: int) -> None:
    need_generation(row, read_generation)
    waiting = row.vm_state == VmState.BUILDING.value and row.host_id is None
    if not waiting or row.task_state != TaskState.SCHEDULING.value:
        reject("bad_state", f"Instance {row.server_id} is not waiting for a host.")


def _need_capacity(context: ApplyContext, host: AnyRow, server: AnyRow) -> None:
    """Rejects `no_capacity` naming every resource that is short. Capacity as Placement defines it:
    (total - reserved) * allocation ratio. A swap disk counts as whole GB, rounded up over the host."""
    claims = context.row(_CLAIMS, {"host_id": host.host_id})
    assert claims is not None
    vcpus, memory_mb, disk_gb, swap_mb = (int(value or 0) for value in claims)
    offers = (
        ("vCPUs", host.vcpus * host.cpu_ratio_milli // MILLI, vcpus, server.vcpus),
        (
            "MB memory",
            (host.memory_mb - host.reserved_memory_mb) * host.memory_ratio_milli // MILLI,
            memory_mb,
            server.memory_mb,
        ),
        (
            "GB disk",
            host.disk_gb * host.disk_ratio_milli // MILLI,
            disk_gb + _gb(swap_mb),
            server.root_gb + server.ephemeral_gb + _gb(swap_mb + server.swap_mb) - _gb(swap_mb),
        ),
    )
    short = [
        f"{wanted} {unit} wanted, {max(capacity - used, 0)} of {capacity} free"
        for unit, capacity, used, wanted in offers
        if used + wanted > capacity
    ]
    if short:
        reject(
            "no_capacity", f"Compute host {host.name} has no room for {server.server_id}: {'; '.join(short)}."
        )


def _gb(megabytes: int) -> int:
    return -(-megabytes // 1_024)
