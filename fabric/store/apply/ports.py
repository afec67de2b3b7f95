"""Ports: making, changing, freeing. Also used by the servers' handlers. Messages in Neutron's words.

Invariants: an address is held by one port of its subnet; a MAC is used once in its network; `nic` is set
exactly while one of our servers has the port.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, delete, func, insert, select, update

from fabric.store import tables as t
from fabric.store.apply.addresses import need_in, parse_address, parse_cidr
from fabric.store.apply.context import ApplyContext, Result, reject, single
from fabric.store.apply.lookups import (
    is_server,
    need_group,
    need_network,
    need_port,
    need_project,
    need_subnet,
)
from fabric.store.apply.quota import check_network_quota
from fabric.store.apply.registry import handles
from fabric.store.prepared import AnyRow, prepared
from proto.commands.networks import PortCreate, PortDelete, PortSpec, PortUpdate

ACTIVE, DOWN, BUILD = "ACTIVE", "DOWN", "BUILD"

_COUNT = func.count()
_TAKEN = prepared(  # the id, the MAC: looked up at once
    single(
        select(
            select(_COUNT).where(t.ports.c.port_id == bindparam("port_id")).scalar_subquery(),
            select(_COUNT)
            .where(t.ports.c.network_id == bindparam("network_id"), t.ports.c.mac == bindparam("mac"))
            .scalar_subquery(),
        )
    )
)
_HOLDER = prepared(
    single(
        select(t.fixed_ips.c.port_id).where(
            t.fixed_ips.c.subnet_id == bindparam("subnet_id"), t.fixed_ips.c.address == bindparam("address")
        )
    )
)
_INSERT_PORT = prepared(insert(t.ports))
_INSERT_ADDRESS = prepared(insert(t.fixed_ips))
_INSERT_GROUP = prepared(insert(t.port_security_groups))
_BY_SERVER = prepared(
    select(t.ports)
    .where(t.ports.c.device_id == bindparam("server_id"), t.ports.c.nic.is_not(None))
    .order_by(t.ports.c.nic, t.ports.c.port_id)
)
_DELETE_ADDRESSES = prepared(delete(t.fixed_ips).where(t.fixed_ips.c.port_id == bindparam("port_id")))
_DELETE_GROUPS = prepared(
    delete(t.port_security_groups).where(t.port_security_groups.c.port_id == bindparam("port_id"))
)
_DELETE_PORT = prepared(delete(t.ports).where(t.ports.c.port_id == bindparam("port_id")))
_UPDATE_PORT = prepared(update(t.ports).where(t.ports.c.port_id == bindparam("key")))


@handles(PortCreate, lambda command: command.port.port_id)
def create_port(context: ApplyContext, command: PortCreate) -> Result:
    need_project(context, command.port.project_id)
    check_network_quota(context, "port", t.ports, command.port.project_id)
    insert_port(context, command.port)
    return {}


@handles(PortUpdate, lambda command: command.port_id)
def update_port(context: ApplyContext, command: PortUpdate) -> Result:
    row = need_port(context, command.port_id)
    context.project_id = row.project_id
    moves = command.device_id is not None and command.device_id != row.device_id
    if row.nic is not None and moves:
        reject(
            "in_use",
            f"Unable to complete operation on port {row.port_id} for network {row.network_id}. "
            f"Port already has an attached device {row.device_id}.",
        )
    if command.security_group_ids is not None:
        context.write(_DELETE_GROUPS, {"port_id": row.port_id})
        _insert_groups(context, row.port_id, command.security_group_ids)
    given = {
        "name": command.name,
        "description": command.description,
        "admin_state_up": command.admin_state_up,
        "device_id": command.device_id,
        "device_owner": command.device_owner,
    }
    write_port(context, row, **{name: value for name, value in given.items() if value is not None})
    if row.nic is not None:
        context.write(
            update(t.servers)
            .where(t.servers.c.server_id == row.device_id)
            .values(changed_index=context.index)
        )
    return {}


@handles(PortDelete, lambda command: command.port_id)
def delete_port(context: ApplyContext, command: PortDelete) -> Result:
    row = need_port(context, command.port_id)
    context.project_id = row.project_id
    if row.nic is not None and is_server(context, row.device_id):
        reject(
            "in_use",
            f"Port {row.port_id} cannot be deleted: it is in use by server {row.device_id}. "
            "Detach it or delete the server.",
        )
    remove_port(context, row.port_id)
    return {}


def insert_port(
    context: ApplyContext,
    spec: PortSpec,
    *,
    server_id: str | None = None,
    nic: int | None = None,
    device_owner: str = "",
) -> None:
    """Makes a port with its addresses and groups.

    Rejects `not_found`, `conflict` (the id), `mac_taken`, `address_taken`, `invalid`.
    """
    mac = spec.mac.lower()
    need_network(context, spec.network_id)
    row = context.row(_TAKEN, {"network_id": spec.network_id, "port_id": spec.port_id, "mac": mac})
    assert row is not None
    ports, macs = row
    if ports:
        reject("conflict", f"Port {spec.port_id} already exists.")
    if macs:
        reject(
            "mac_taken",
            f"Unable to complete operation for network {spec.network_id}. The mac address {mac} is in use.",
        )
    context.write(
        _INSERT_PORT,
        {
            "port_id": spec.port_id,
            "network_id": spec.network_id,
            "project_id": spec.project_id,
            "name": spec.name,
            "description": spec.description,
            "mac": mac,
            "device_id": spec.device_id if server_id is None else server_id,
            "device_owner": spec.device_owner or device_owner,
            "nic": nic,
            "host_id": None,
            "status": DOWN,
            "admin_state_up": spec.admin_state_up,
            "port_security_enabled": spec.port_security_enabled,
            "made_for_server": server_id is not None,
            "created_ms": context.time_ms,
            "updated_ms": context.time_ms,
            "revision": 1,
        },
    )
    _insert_addresses(context, spec)
    _insert_groups(context, spec.port_id, spec.security_group_ids)


def _insert_addresses(context: ApplyContext, spec: PortSpec) -> None:
    for position, choice in enumerate(spec.fixed_ips):
        parsed = parse_address(choice.address)
        subnet = need_subnet(context, choice.subnet_id)
        if subnet.network_id != spec.network_id:
            reject("invalid", f"Subnet {choice.subnet_id} is not part of network {spec.network_id}.")
        need_in(parsed, parse_cidr(subnet.cidr), "IP address")
        address = str(parsed)
        if context.exists(_HOLDER, {"subnet_id": choice.subnet_id, "address": address}):
            reject("address_taken", f"IP address {address} already allocated in subnet {choice.subnet_id}")
        context.write(
            _INSERT_ADDRESS,
            {
                "subnet_id": choice.subnet_id,
                "address": address,
                "port_id": spec.port_id,
                "position": position,
            },
        )


def _insert_groups(context: ApplyContext, port_id: str, group_ids: Sequence[str]) -> None:
    for position, group_id in enumerate(dict.fromkeys(group_ids)):
        need_group(context, group_id)
        context.write(
            _INSERT_GROUP, {"port_id": port_id, "security_group_id": group_id, "position": position}
        )


def ports_of_server(context: ApplyContext, server_id: str) -> Sequence[AnyRow]:
    """In NIC order."""
    return context.rows(_BY_SERVER, {"server_id": server_id})


def write_port(context: ApplyContext, row: AnyRow, **values: Any) -> None:
    stamp = {"updated_ms": context.time_ms, "revision": row.revision + 1}
    context.write(_UPDATE_PORT, {"key": row.port_id, **values, **stamp})


def remove_port(context: ApplyContext, port_id: str) -> None:
    for statement in (_DELETE_ADDRESSES, _DELETE_GROUPS, _DELETE_PORT):
        context.write(statement, {"port_id": port_id})


def release_ports(context: ApplyContext, server_id: str) -> None:
    """The server goes: the ports made for it go too, the others are free again."""
    for row in ports_of_server(context, server_id):
        if row.made_for_server:
            remove_port(context, row.port_id)
        else:
            write_port(context, row, device_id="", device_owner="", nic=None, host_id=None, status=DOWN)
