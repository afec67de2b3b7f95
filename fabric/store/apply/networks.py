"""Networks and subnets. Messages in Neutron's words."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, insert, select, update

from fabric.store import tables as t
from fabric.store.apply.addresses import Network, address_in, overlaps, parse_address, parse_cidr
from fabric.store.apply.context import ApplyContext, Result, reject, single
from fabric.store.apply.lookups import need_network, need_project, need_subnet
from fabric.store.apply.quota import check_network_quota
from fabric.store.apply.registry import handles
from proto.commands.networks import (
    NetworkCreate,
    NetworkDelete,
    NetworkUpdate,
    SubnetCreate,
    SubnetDelete,
    SubnetUpdate,
)

MTU_MIN = 68  # RFC 791


@handles(NetworkCreate, lambda command: command.network_id)
def create_network(context: ApplyContext, command: NetworkCreate) -> Result:
    need_project(context, command.project_id)
    known = select(t.networks.c.network_id).where(t.networks.c.network_id == command.network_id)
    if context.exists(single(known)):
        reject("conflict", f"Network {command.network_id} already exists.")
    _check_mtu(command.mtu)
    check_network_quota(context, "network", t.networks, command.project_id)
    context.write(
        insert(t.networks),
        {
            "network_id": command.network_id,
            "project_id": command.project_id,
            "name": command.name,
            "description": command.description,
            "strategy": command.strategy,
            "physical_network": command.physical_network,
            "admin_state_up": command.admin_state_up,
            "shared": command.shared,
            "external": command.external,
            "mtu": command.mtu,
            "port_security_enabled": command.port_security_enabled,
            "created_ms": context.time_ms,
            "updated_ms": context.time_ms,
            "revision": 1,
        },
    )
    return {}


@handles(NetworkUpdate, lambda command: command.network_id)
def update_network(context: ApplyContext, command: NetworkUpdate) -> Result:
    row = need_network(context, command.network_id)
    context.project_id = row.project_id
    if command.mtu is not None:
        _check_mtu(command.mtu)
    given = {
        "name": command.name,
        "description": command.description,
        "admin_state_up": command.admin_state_up,
        "shared": command.shared,
        "external": command.external,
        "mtu": command.mtu,
    }
    _touch_network(context, row, given)
    return {}


@handles(NetworkDelete, lambda command: command.network_id)
def delete_network(context: ApplyContext, command: NetworkDelete) -> Result:
    row = need_network(context, command.network_id)
    context.project_id = row.project_id
    used = select(t.ports.c.port_id).where(t.ports.c.network_id == command.network_id)
    if context.exists(single(used.limit(1))):
        reject(
            "in_use",
            f"Unable to complete operation on network {command.network_id}. "
            "There are one or more ports still in use on the network.",
        )
    for table in (t.subnets, t.networks):
        context.write(delete(table).where(table.c.network_id == command.network_id))
    return {}


@handles(SubnetCreate, lambda command: command.subnet_id)
def create_subnet(context: ApplyContext, command: SubnetCreate) -> Result:
    need_project(context, command.project_id)
    network = need_network(context, command.network_id)
    known = select(t.subnets.c.subnet_id).where(t.subnets.c.subnet_id == command.subnet_id)
    if context.exists(single(known)):
        reject("conflict", f"Subnet {command.subnet_id} already exists.")
    cidr = _checked_range(command)
    others = select(t.subnets.c.cidr).where(t.subnets.c.network_id == command.network_id)
    for row in context.rows(others.order_by(t.subnets.c.subnet_id)):
        if overlaps(cidr, parse_cidr(row.cidr)):
            reject(
                "conflict",
                f"Invalid input for operation: Requested subnet with cidr: {cidr} for network: "
                f"{command.network_id} overlaps with another subnet.",
            )
    check_network_quota(context, "subnet", t.subnets, command.project_id)
    gateway = None if command.gateway_ip is None else str(parse_address(command.gateway_ip))
    context.write(
        insert(t.subnets),
        {
            "subnet_id": command.subnet_id,
            "network_id": command.network_id,
            "project_id": command.project_id,
            "name": command.name,
            "description": command.description,
            "cidr": str(cidr),
            "gateway_ip": gateway,
            "enable_dhcp": command.enable_dhcp,
            "dns_nameservers": list(command.dns_nameservers),
            "pools": [[pool.start, pool.end] for pool in command.pools],
            "host_routes": list(command.host_routes),
            "ip_version": command.ip_version,
            "created_ms": context.time_ms,
            "updated_ms": context.time_ms,
            "revision": 1,
        },
    )
    _touch_network(context, network, {})
    return {}


@handles(SubnetUpdate, lambda command: command.subnet_id)
def update_subnet(context: ApplyContext, command: SubnetUpdate) -> Result:
    row = need_subnet(context, command.subnet_id)
    context.project_id = row.project_id
    gateway = command.gateway_ip
    if gateway is not None:
        gateway = str(address_in(gateway, parse_cidr(row.cidr), "Gateway"))
    given: dict[str, Any] = {
        "name": command.name,
        "description": command.description,
        "gateway_ip": gateway,
        "enable_dhcp": command.enable_dhcp,
        "dns_nameservers": None if command.dns_nameservers is None else list(command.dns_nameservers),
    }
    values = {name: value for name, value in given.items() if value is not None}
    context.write(
        update(t.subnets)
        .where(t.subnets.c.subnet_id == command.subnet_id)
        .values(**values, updated_ms=context.time_ms, revision=row.revision + 1)
    )
    touch_servers_on(context, row.network_id)
    return {}


@handles(SubnetDelete, lambda command: command.subnet_id)
def delete_subnet(context: ApplyContext, command: SubnetDelete) -> Result:
    row = need_subnet(context, command.subnet_id)
    context.project_id = row.project_id
    used = select(t.fixed_ips.c.port_id).where(t.fixed_ips.c.subnet_id == command.subnet_id)
    if context.exists(single(used.limit(1))):
        reject(
            "in_use",
            f"Unable to complete operation on subnet {command.subnet_id}: "
            "One or more ports have an IP allocation from this subnet.",
        )
    context.write(delete(t.subnets).where(t.subnets.c.subnet_id == command.subnet_id))
    _touch_network(context, need_network(context, row.network_id), {})
    return {}


def touch_servers_on(context: ApplyContext, network_id: str) -> None:
    """What hosts are told of a server includes its networks: the servers on this one have changed."""
    on_it = single(select(t.ports.c.device_id).where(t.ports.c.network_id == network_id))
    context.write(
        update(t.servers).where(t.servers.c.server_id.in_(on_it)).values(changed_index=context.index)
    )


def _touch_network(context: ApplyContext, row: Any, given: dict[str, Any]) -> None:
    values = {name: value for name, value in given.items() if value is not None}
    context.write(
        update(t.networks)
        .where(t.networks.c.network_id == row.network_id)
        .values(**values, updated_ms=context.time_ms, revision=row.revision + 1)
    )
    touch_servers_on(context, row.network_id)


def _checked_range(command: SubnetCreate) -> Network:
    """The subnet's range, after gateway and pools were found to lie in it. Rejects `invalid`."""
    cidr = parse_cidr(command.cidr)
    if cidr.version != command.ip_version:
        reject("invalid", f"The cidr {cidr} is not of IP version {command.ip_version}.")
    if command.gateway_ip is not None:
        address_in(command.gateway_ip, cidr, "Gateway")
    for pool in command.pools:
        start = address_in(pool.start, cidr, "Allocation pool start")
        end = address_in(pool.end, cidr, "Allocation pool end")
        if int(start) > int(end):
            reject("invalid", f"The allocation pool {start}-{end} ends before it starts.")
    return cidr


def _check_mtu(mtu: int) -> None:
    if not MTU_MIN <= mtu <= 65_535:
        reject("invalid", f"Invalid input for mtu: {mtu} is not between {MTU_MIN} and 65535.")
