"""Networks, subnets, ports, security groups. Each list is a fixed number of statements, however long."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, or_, select

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
from fabric.store.query.registry import answers
from proto.commands.networks import AllocationPool, FixedIpChoice
from proto.ids import SecurityGroupId, SubnetId

IN_MAX = 500  # values of one IN list: SQLite and PostgreSQL both take more, plans get no better


@answers(GetNetwork)
def get_network(connection: Connection, query: GetNetwork) -> Network | None:
    found = load_networks(connection, t.networks.c.network_id == query.network_id)
    return found[0] if found else None


@answers(ListNetworks)
def list_networks(connection: Connection, query: ListNetworks) -> tuple[Network, ...]:
    if query.visible_to is None:
        return load_networks(connection)
    return load_networks(connection, or_(t.networks.c.project_id == query.visible_to, t.networks.c.shared))


def load_networks(connection: Connection, *where: ColumnElement[bool]) -> tuple[Network, ...]:
    """Oldest first, with the ids of their subnets."""
    c = t.networks.c
    rows = connection.execute(select(t.networks).where(*where).order_by(c.created_ms, c.network_id)).all()
    subnets: dict[str, list[SubnetId]] = defaultdict(list)
    for chunk in chunks([row.network_id for row in rows]):
        s = t.subnets.c
        ids = select(s.network_id, s.subnet_id).where(s.network_id.in_(chunk))
        for row in connection.execute(ids.order_by(s.created_ms, s.subnet_id)):
            subnets[row.network_id].append(row.subnet_id)
    return tuple(Network(**row._mapping, subnet_ids=tuple(subnets.get(row.network_id, ()))) for row in rows)


@answers(GetSubnet)
def get_subnet(connection: Connection, query: GetSubnet) -> Subnet | None:
    found = load_subnets(connection, t.subnets.c.subnet_id == query.subnet_id)
    return found[0] if found else None


@answers(ListSubnets)
def list_subnets(connection: Connection, query: ListSubnets) -> tuple[Subnet, ...]:
    where: list[ColumnElement[bool]] = []
    if query.network_id is not None:
        where.append(t.subnets.c.network_id == query.network_id)
    if query.visible_to is not None:
        shared = select(t.networks.c.network_id).where(t.networks.c.shared)
        where.append(or_(t.subnets.c.project_id == query.visible_to, t.subnets.c.network_id.in_(shared)))
    return load_subnets(connection, *where)


def load_subnets(connection: Connection, *where: ColumnElement[bool]) -> tuple[Subnet, ...]:
    c = t.subnets.c
    rows = connection.execute(select(t.subnets).where(*where).order_by(c.created_ms, c.subnet_id))
    return tuple(
        Subnet(
            **dict(row._mapping)
            | {
                "dns_nameservers": tuple(row.dns_nameservers),
                "host_routes": tuple(row.host_routes),
                "pools": tuple(AllocationPool(start, end) for start, end in row.pools),
            }
        )
        for row in rows
    )


@answers(UsedAddresses)
def used_addresses(connection: Connection, query: UsedAddresses) -> tuple[str, ...]:
    c = t.fixed_ips.c
    statement = select(c.address).where(c.subnet_id == query.subnet_id).order_by(c.address)
    return tuple(connection.execute(statement).scalars())


@answers(GetPort)
def get_port(connection: Connection, query: GetPort) -> Port | None:
    found = load_ports(connection, t.ports.c.port_id == query.port_id)
    return found[0] if found else None


@answers(ListPorts)
def list_ports(connection: Connection, query: ListPorts) -> tuple[Port, ...]:
    where: list[ColumnElement[bool]] = []
    for column, wanted in (
        (t.ports.c.project_id, query.visible_to),
        (t.ports.c.network_id, query.network_id),
        (t.ports.c.device_id, query.device_id),
    ):
        if wanted is not None:
            where.append(column == wanted)
    if not query.port_ids:
        return load_ports(connection, *where)
    found = [
        port
        for chunk in chunks(query.port_ids)
        for port in load_ports(connection, *where, t.ports.c.port_id.in_(chunk))
    ]
    return tuple(found)


def load_ports(connection: Connection, *where: ColumnElement[bool]) -> tuple[Port, ...]:
    """In NIC order within a server, else oldest first."""
    p = t.ports.c
    rows = connection.execute(
        select(t.ports, t.networks.c.name.label("network_name"), t.hosts.c.name.label("host_name"))
        .join(t.networks, t.networks.c.network_id == p.network_id)
        .outerjoin(t.hosts, t.hosts.c.host_id == p.host_id)
        .where(*where)
        .order_by(p.device_id, p.nic, p.created_ms, p.port_id)
    ).all()
    ips, groups = _addresses(connection, rows), _groups(connection, rows)
    return tuple(
        Port(
            **{name: value for name, value in row._mapping.items() if name != "nic"},
            fixed_ips=tuple(ips.get(row.port_id, ())),
            security_group_ids=tuple(groups.get(row.port_id, ())),
        )
        for row in rows
    )


def _addresses(connection: Connection, ports: Sequence[Row[Any]]) -> dict[str, list[FixedIpChoice]]:
    found: dict[str, list[FixedIpChoice]] = defaultdict(list)
    c = t.fixed_ips.c
    for chunk in chunks([row.port_id for row in ports]):
        statement = select(t.fixed_ips).where(c.port_id.in_(chunk)).order_by(c.port_id, c.position)
        for row in connection.execute(statement):
            found[row.port_id].append(FixedIpChoice(row.subnet_id, row.address))
    return found


def _groups(connection: Connection, ports: Sequence[Row[Any]]) -> dict[str, list[SecurityGroupId]]:
    found: dict[str, list[SecurityGroupId]] = defaultdict(list)
    c = t.port_security_groups.c
    for chunk in chunks([row.port_id for row in ports]):
        statement = select(t.port_security_groups).where(c.port_id.in_(chunk))
        for row in connection.execute(statement.order_by(c.port_id, c.position)):
            found[row.port_id].append(row.security_group_id)
    return found


@answers(GetSecurityGroup)
def get_security_group(connection: Connection, query: GetSecurityGroup) -> SecurityGroup | None:
    found = load_groups(connection, t.security_groups.c.security_group_id == query.security_group_id)
    return found[0] if found else None


@answers(ListSecurityGroups)
def list_security_groups(connection: Connection, query: ListSecurityGroups) -> tuple[SecurityGroup, ...]:
    if query.visible_to is None:
        return load_groups(connection)
    return load_groups(connection, t.security_groups.c.project_id == query.visible_to)


def load_groups(connection: Connection, *where: ColumnElement[bool]) -> tuple[SecurityGroup, ...]:
    """With their rules, oldest first."""
    c = t.security_groups.c
    statement = select(t.security_groups).where(*where).order_by(c.created_ms, c.security_group_id)
    rows = connection.execute(statement).all()
    rules: dict[str, list[SecurityRule]] = defaultdict(list)
    r = t.security_rules.c
    for chunk in chunks([row.security_group_id for row in rows]):
        found = select(t.security_rules).where(r.security_group_id.in_(chunk))
        for row in connection.execute(found.order_by(r.created_ms, r.rule_id)):
            rules[row.security_group_id].append(SecurityRule(**row._mapping))
    return tuple(
        SecurityGroup(**row._mapping, rules=tuple(rules.get(row.security_group_id, ()))) for row in rows
    )


@answers(GetSecurityRule)
def get_security_rule(connection: Connection, query: GetSecurityRule) -> SecurityRule | None:
    statement = select(t.security_rules).where(t.security_rules.c.rule_id == query.rule_id)
    row = connection.execute(statement).first()
    return None if row is None else SecurityRule(**row._mapping)


def chunks(values: Sequence[str]) -> Iterable[Sequence[str]]:
    for start in range(0, len(values), IN_MAX):
        yield values[start : start + IN_MAX]
