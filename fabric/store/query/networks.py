"""Networks, subnets, ports, security groups. Each list is a fixed number of statements, however long."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, bindparam, or_, select

from fabric.core.networks.model import Network, Port, SecurityGroup, SecurityRule, Subnet
from fabric.core.networks.queries import (
    GetNetwork,
    GetPort,
    GetSecurityGroup,
    GetSecurityRule,
    GetSubnet,
    ListNetworks,
    ListPorts,
    ListSecurityGroups,
    ListSubnets,
    UsedAddresses,
)
from fabric.store import tables as t
from fabric.store.query.among import among, chunks, rows_among
from fabric.store.query.registry import answers
from proto.commands.networks import AllocationPool, FixedIpChoice
from proto.ids import SecurityGroupId, SubnetId

_N, _SN, _P, _I = t.networks.c, t.subnets.c, t.ports.c, t.fixed_ips.c
_PG, _G, _R = t.port_security_groups.c, t.security_groups.c, t.security_rules.c

_NETWORKS = select(t.networks).order_by(_N.created_ms, _N.network_id)
_NETWORK = _NETWORKS.where(_N.network_id == bindparam("id"))
_NETWORKS_AMONG = _NETWORKS.where(among(_N.network_id))
_SUBNET_IDS = (
    select(_SN.network_id, _SN.subnet_id).where(among(_SN.network_id)).order_by(_SN.created_ms, _SN.subnet_id)
)
_SUBNETS = select(t.subnets).order_by(_SN.created_ms, _SN.subnet_id)
_SUBNETS_OF_NETWORKS = _SUBNETS.where(among(_SN.network_id))
_USED_ADDRESSES = select(_I.address).where(_I.subnet_id == bindparam("id")).order_by(_I.address)
_PORTS = (  # in NIC order within a server, else oldest first
    select(t.ports, _N.name.label("network_name"), t.hosts.c.name.label("host_name"))
    .join(t.networks, _N.network_id == _P.network_id)
    .outerjoin(t.hosts, t.hosts.c.host_id == _P.host_id)
    .order_by(_P.device_id, _P.nic, _P.created_ms, _P.port_id)
)
_PORTS_OF_SERVERS = _PORTS.where(among(_P.device_id), _P.nic.is_not(None))
_ADDRESSES = select(t.fixed_ips).where(among(_I.port_id)).order_by(_I.port_id, _I.position)
_GROUPS_OF_PORTS = (
    select(t.port_security_groups).where(among(_PG.port_id)).order_by(_PG.port_id, _PG.position)
)
_GROUPS = select(t.security_groups).order_by(_G.created_ms, _G.security_group_id)
_RULES = select(t.security_rules).where(among(_R.security_group_id)).order_by(_R.created_ms, _R.rule_id)


@answers(GetNetwork)
def get_network(connection: Connection, query: GetNetwork) -> Network | None:
    found = _networks(connection, connection.execute(_NETWORK, {"id": query.network_id}).all())
    return found[0] if found else None


@answers(ListNetworks)
def list_networks(connection: Connection, query: ListNetworks) -> tuple[Network, ...]:
    statement = _NETWORKS
    if query.visible_to is not None:
        statement = statement.where(or_(_N.project_id == query.visible_to, _N.shared))
    return _networks(connection, connection.execute(statement).all())


def networks_among(connection: Connection, network_ids: Sequence[str]) -> tuple[Network, ...]:
    return _networks(connection, list(rows_among(connection, _NETWORKS_AMONG, network_ids)))


def _networks(connection: Connection, rows: Sequence[Row[Any]]) -> tuple[Network, ...]:
    """With the ids of their subnets."""
    subnets: dict[str, list[SubnetId]] = defaultdict(list)
    for row in rows_among(connection, _SUBNET_IDS, [row.network_id for row in rows]):
        subnets[row.network_id].append(row.subnet_id)
    return tuple(Network(**row._mapping, subnet_ids=tuple(subnets.get(row.network_id, ()))) for row in rows)


@answers(GetSubnet)
def get_subnet(connection: Connection, query: GetSubnet) -> Subnet | None:
    row = connection.execute(_SUBNETS.where(_SN.subnet_id == query.subnet_id)).first()
    return None if row is None else _subnet(row)


@answers(ListSubnets)
def list_subnets(connection: Connection, query: ListSubnets) -> tuple[Subnet, ...]:
    statement = _SUBNETS
    if query.network_id is not None:
        statement = statement.where(_SN.network_id == query.network_id)
    if query.visible_to is not None:
        shared = select(_N.network_id).where(_N.shared)
        statement = statement.where(or_(_SN.project_id == query.visible_to, _SN.network_id.in_(shared)))
    return tuple(_subnet(row) for row in connection.execute(statement))


def subnets_of_networks(connection: Connection, network_ids: Sequence[str]) -> tuple[Subnet, ...]:
    return tuple(_subnet(row) for row in rows_among(connection, _SUBNETS_OF_NETWORKS, network_ids))


def _subnet(row: Row[Any]) -> Subnet:
    return Subnet(
        **dict(row._mapping)
        | {
            "dns_nameservers": tuple(row.dns_nameservers),
            "host_routes": tuple(row.host_routes),
            "pools": tuple(AllocationPool(start, end) for start, end in row.pools),
        }
    )


@answers(UsedAddresses)
def used_addresses(connection: Connection, query: UsedAddresses) -> tuple[str, ...]:
    return tuple(connection.execute(_USED_ADDRESSES, {"id": query.subnet_id}).scalars())


@answers(GetPort)
def get_port(connection: Connection, query: GetPort) -> Port | None:
    found = _ports(connection, connection.execute(_PORTS.where(_P.port_id == query.port_id)).all())
    return found[0] if found else None


@answers(ListPorts)
def list_ports(connection: Connection, query: ListPorts) -> tuple[Port, ...]:
    where: list[ColumnElement[bool]] = []
    for column, wanted in (
        (_P.project_id, query.visible_to),
        (_P.network_id, query.network_id),
        (_P.device_id, query.device_id),
    ):
        if wanted is not None:
            where.append(column == wanted)
    statement = _PORTS.where(*where)
    if not query.port_ids:
        return _ports(connection, connection.execute(statement).all())
    found = [
        port
        for chunk in chunks(query.port_ids)
        for port in _ports(connection, connection.execute(statement.where(_P.port_id.in_(chunk))).all())
    ]
    return tuple(found)


def ports_of_servers(connection: Connection, server_ids: Sequence[str]) -> dict[str, list[Port]]:
    """By server, in NIC order; none that were only labelled with it."""
    found: dict[str, list[Port]] = defaultdict(list)
    for port in _ports(connection, list(rows_among(connection, _PORTS_OF_SERVERS, server_ids))):
        found[port.device_id].append(port)
    return found


def _ports(connection: Connection, rows: Sequence[Row[Any]]) -> tuple[Port, ...]:
    ids = [row.port_id for row in rows]
    addresses: dict[str, list[FixedIpChoice]] = defaultdict(list)
    for row in rows_among(connection, _ADDRESSES, ids):
        addresses[row.port_id].append(FixedIpChoice(row.subnet_id, row.address))
    groups: dict[str, list[SecurityGroupId]] = defaultdict(list)
    for row in rows_among(connection, _GROUPS_OF_PORTS, ids):
        groups[row.port_id].append(row.security_group_id)
    return tuple(
        Port(
            **{name: value for name, value in row._mapping.items() if name != "nic"},
            fixed_ips=tuple(addresses.get(row.port_id, ())),
            security_group_ids=tuple(groups.get(row.port_id, ())),
        )
        for row in rows
    )


@answers(GetSecurityGroup)
def get_security_group(connection: Connection, query: GetSecurityGroup) -> SecurityGroup | None:
    found = load_groups(connection, _G.security_group_id == query.security_group_id)
    return found[0] if found else None


@answers(ListSecurityGroups)
def list_security_groups(connection: Connection, query: ListSecurityGroups) -> tuple[SecurityGroup, ...]:
    if query.visible_to is None:
        return load_groups(connection)
    return load_groups(connection, _G.project_id == query.visible_to)


def load_groups(connection: Connection, *where: ColumnElement[bool]) -> tuple[SecurityGroup, ...]:
    """With their rules, oldest first."""
    return groups_of(connection, connection.execute(_GROUPS.where(*where)).all())


def groups_of(connection: Connection, rows: Sequence[Row[Any]]) -> tuple[SecurityGroup, ...]:
    """Rows of security groups with their rules."""
    rules: dict[str, list[SecurityRule]] = defaultdict(list)
    for row in rows_among(connection, _RULES, [row.security_group_id for row in rows]):
        rules[row.security_group_id].append(SecurityRule(**row._mapping))
    return tuple(
        SecurityGroup(**row._mapping, rules=tuple(rules.get(row.security_group_id, ()))) for row in rows
    )


@answers(GetSecurityRule)
def get_security_rule(connection: Connection, query: GetSecurityRule) -> SecurityRule | None:
    statement = select(t.security_rules).where(t.security_rules.c.rule_id == query.rule_id)
    row = connection.execute(statement).first()
    return None if row is None else SecurityRule(**row._mapping)
