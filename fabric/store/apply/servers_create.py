"""A user asks for a server, or changes what it is called. Messages in Nova's words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import bindparam, insert, select

from fabric.core.servers.states import Desired, PowerState, TaskState, VmState
from fabric.store import tables as t
from fabric.store.apply.context import ApplyContext, Result, reject, single
from fabric.store.apply.lookups import is_image, need_flavor, need_port, need_project, need_server
from fabric.store.apply.ports import insert_port, write_port
from fabric.store.apply.quota import UNLIMITED, check_server_quota, limit_of_user, limits_of
from fabric.store.apply.registry import handles
from fabric.store.apply.server_groups import join_group
from fabric.store.apply.server_rows import write_server
from fabric.store.prepared import AnyRow, prepared
from fabric.store.tables import level2
from proto.commands.servers import ServerCreate, ServerCreateAlike, ServerCreateHinted, ServerUpdate

UNPLACED_OWNER = "compute:nova"  # device_owner until the zone is known; Nova writes "compute:<zone>"

_INSERT_SERVER = prepared(insert(t.servers))
_INSERT_HINTS = prepared(insert(level2.server_hints))
_EXISTS = prepared(  # and no more of it: this is the hottest command
    single(select(t.servers.c.server_id).where(t.servers.c.server_id == bindparam("id")))
)


@handles(ServerCreate, lambda command: command.server_id)
def create_server(context: ApplyContext, command: ServerCreate) -> Result:
    flavor = _check_named(context, command)
    _check_quota(context, command, flavor, ports=len(command.new_ports), servers=1)
    _make(context, command, flavor)
    return {}


@handles(ServerCreateHinted, lambda command: command.server_id)
def create_hinted_server(context: ApplyContext, command: ServerCreateHinted) -> Result:
    create_server(context, command)
    _note_wishes(context, command)
    return {}


@handles(ServerCreateAlike, lambda command: command.server_id)
def create_servers_alike(context: ApplyContext, command: ServerCreateAlike) -> Result:
    servers = _one_by_one(command)
    ports = sum(len(each.new_ports) for each in servers)
    flavor = _check_named(context, command)
    _check_quota(context, command, flavor, ports=ports, servers=len(servers))
    for each in servers:
        _need_new(context, each)
        _make(context, each, flavor)
        _note_wishes(context, each)
    return {}


def _one_by_one(command: ServerCreateAlike) -> list[ServerCreateAlike]:
    """Those that it makes, each as if it were alone."""
    if command.others and command.existing_port_ids:
        reject("invalid", "A port can be given to one server only.")
    first = replace(command, others=())
    others = (
        replace(
            first,
            server_id=each.server_id,
            name=each.name,
            hostname=each.hostname,
            new_ports=each.new_ports,
            port_order=each.port_order,
            launch_index=command.launch_index + number,
        )
        for number, each in enumerate(command.others, start=1)
    )
    return [first, *others]


def _check_quota(
    context: ApplyContext, command: ServerCreate, flavor: AnyRow, *, ports: int, servers: int
) -> None:
    project_id, user_id = command.project_id, command.user_id
    limits = limits_of(context, project_id)
    if command.metadata:
        _check_metadata(context, project_id, user_id, len(command.metadata))
    check_server_quota(context, limits, project_id, user_id, flavor, ports=ports, servers=servers)


def _make(context: ApplyContext, command: ServerCreate, flavor: AnyRow) -> None:
    context.write(_INSERT_SERVER, _new_row(context, command, flavor))
    _take_ports(context, command)


def _note_wishes(context: ApplyContext, command: ServerCreateHinted) -> None:
    if command.group_id is not None:
        join_group(context, command.server_id, command.project_id, command.user_id, command.group_id)
    if command.hints:
        context.write(_INSERT_HINTS, {"server_id": command.server_id, "hints": dict(command.hints)})


def _check_named(context: ApplyContext, command: ServerCreate) -> AnyRow:
    """The flavor. Rejects `not_found`, `conflict`."""
    need_project(context, command.project_id)
    _need_new(context, command)
    flavor = need_flavor(context, command.flavor_id)
    if command.image_id and not is_image(context, command.image_id):
        reject("not_found", f"Image {command.image_id} could not be found.")
    return flavor


def _need_new(context: ApplyContext, command: ServerCreate) -> None:
    if context.exists(_EXISTS, {"id": command.server_id}):
        reject("conflict", f"Instance {command.server_id} already exists.")


def _new_row(context: ApplyContext, command: ServerCreate, flavor: Any) -> dict[str, Any]:
    return {
        "server_id": command.server_id,
        "project_id": command.project_id,
        "user_id": command.user_id,
        "request_id": command.request_id,
        "name": command.name,
        "hostname": command.hostname,
        "description": command.description,
        "flavor_id": flavor.flavor_id,
        "flavor_name": flavor.name,
        "vcpus": flavor.vcpus,
        "memory_mb": flavor.memory_mb,
        "root_gb": flavor.root_gb,
        "ephemeral_gb": flavor.ephemeral_gb,
        "swap_mb": flavor.swap_mb,
        "extra_specs": flavor.extra_specs,
        "image_id": command.image_id,
        "zone_wanted": command.zone,
        "host_wanted": command.host_name,
        "host_id": None,
        "key_name": command.key_name,
        "key_type": command.key_type,
        "public_key": command.public_key,
        "user_data": command.user_data,
        "admin_pass": command.admin_pass,
        "metadata": dict(command.metadata),
        "tags": list(command.tags),
        "config_drive": command.config_drive,
        "launch_index": command.launch_index,
        "reservation_id": command.reservation_id,
        "vm_state": VmState.BUILDING.value,
        "task_state": TaskState.SCHEDULING.value,
        "desired": Desired.RUNNING.value,
        "power_state": PowerState.NOSTATE.value,
        "generation": 1,
        "action_generation": 1,
        "deadline_ms": command.deadline_ms,
        "locked": False,
        "locked_reason": None,
        "fault_code": None,
        "fault_message": None,
        "fault_details": None,
        "fault_ms": None,
        "created_ms": context.time_ms,
        "updated_ms": context.time_ms,
        "launched_ms": None,
        "changed_index": context.index,
    }


def _check_metadata(context: ApplyContext, project_id: str, user_id: str, count: int) -> None:
    limit = limit_of_user(context, project_id, user_id, "metadata_items")
    if limit != UNLIMITED and count > limit:
        reject("quota", f"Maximum number of metadata items exceeds {limit}")


def _take_ports(context: ApplyContext, command: ServerCreate) -> None:
    """Makes the new ports and binds the existing ones, numbered in NIC order."""
    made = [spec.port_id for spec in command.new_ports]
    order = list(command.port_order) or [*made, *command.existing_port_ids]
    if sorted(order) != sorted([*made, *command.existing_port_ids]):
        reject("invalid", "port_order must name each port of the server once.")
    nic_of = {port_id: nic for nic, port_id in enumerate(order)}
    if len(nic_of) != len(order):
        reject("invalid", "A port can be given to a server only once.")
    for spec in command.new_ports:
        insert_port(
            context,
            spec,
            server_id=command.server_id,
            nic=nic_of[spec.port_id],
            device_owner=UNPLACED_OWNER,
        )
    for port_id in command.existing_port_ids:
        port = need_port(context, port_id)
        if port.device_id:
            reject("in_use", f"Port {port_id} is still in use.")
        write_port(
            context,
            port,
            device_id=command.server_id,
            device_owner=UNPLACED_OWNER,
            nic=nic_of[port_id],
        )


@handles(ServerUpdate, lambda command: command.server_id)
def update_server(context: ApplyContext, command: ServerUpdate) -> Result:
    row = need_server(context, command.server_id)
    generation = write_server(context, row, updated_values(context, row, command))
    return {"generation": generation, "host_id": row.host_id}


def updated_values(context: ApplyContext, row: AnyRow, command: ServerUpdate) -> dict[str, Any]:
    """Column values of what the command gives."""
    if command.metadata is not None:
        _check_metadata(context, row.project_id, row.user_id, len(command.metadata))
    given: dict[str, Any] = {
        "name": command.name,
        "description": command.description,
        "hostname": command.hostname,
        "metadata": None if command.metadata is None else dict(command.metadata),
        "tags": None if command.tags is None else list(command.tags),
        "locked": command.locked,
        "locked_reason": command.locked_reason,
    }
    values = {name: value for name, value in given.items() if value is not None}
    if command.locked is False:
        values["locked_reason"] = None
    return values
