"""A host's desired state: which servers are its own, and all it needs to bring the changed ones about."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, select

from fabric.core.images.model import ImageStatus
from fabric.core.networks.model import Port, SecurityGroup, Subnet
from fabric.core.servers.model import AssignedServer, HostAssignments, ImageSource, NetworkForHost, Server
from fabric.core.servers.queries import GetAssignments
from fabric.store import tables as t
from fabric.store.query.networks import chunks, load_groups, load_networks, load_ports, load_subnets
from fabric.store.query.registry import answers
from fabric.store.query.servers import rows_of_servers, server_of
from proto.codec import pack
from proto.ids import ServerId
from proto.records import to_wire

ENVELOPE_BYTES = 16 * 1024  # for the ids, groups and framing around the servers
SERVERS_MAX = 500  # read for one answer
ANSWER_BYTES_LIMIT = 16 << 20  # of one encoded server, only to measure it

_IMAGE_KERNEL, _IMAGE_RAMDISK, _IMAGE_ARGS = "kernel_id", "ramdisk_id", "os_command_line"


@answers(GetAssignments)
def get_assignments(connection: Connection, query: GetAssignments) -> HostAssignments:
    s = t.servers.c
    applied = connection.execute(select(t.position.c.applied_index)).scalar_one()
    ids = select(s.server_id).where(s.host_id == query.host_id).order_by(s.server_id)
    server_ids = tuple(ServerId(value) for value in connection.execute(ids).scalars())
    changed = (
        rows_of_servers()
        .where(s.host_id == query.host_id, s.changed_index > query.since_index)
        .order_by(s.changed_index, s.server_id)
        .limit(SERVERS_MAX + 1)
    )
    rows = connection.execute(changed).all()
    more, rows = len(rows) > SERVERS_MAX, rows[:SERVERS_MAX]
    assigned, cut = _fitting(connection, rows, query.bytes_max - ENVELOPE_BYTES - 40 * len(server_ids))
    more = more or cut
    kept = rows[: len(assigned)]
    groups = _groups_on(connection, query.host_id)
    return HostAssignments(
        host_id=query.host_id,
        applied_index=applied,
        server_ids=server_ids,
        servers=assigned,
        more=more,
        # caught up: the host asks next from the index this answer was read at
        next_since=kept[-1].changed_index if more and kept else applied,
        security_groups=groups,
        group_addresses=_addresses_of(connection, groups),
    )


def _fitting(
    connection: Connection, rows: Sequence[Row[Any]], budget: int
) -> tuple[tuple[AssignedServer, ...], bool]:
    """As many as fit the budget, but always whole groups of one changed_index, and never none: an
    answer without progress would be asked for ever."""
    assigned = _assigned(connection, rows)
    used, fitting = 0, 0
    for at, one in enumerate(assigned):
        used += len(pack(to_wire(one), limit=ANSWER_BYTES_LIMIT))
        if used > budget and at > 0:
            break
        fitting = at + 1
    if fitting < len(assigned):
        while fitting > 1 and rows[fitting].changed_index == rows[fitting - 1].changed_index:
            fitting -= 1
        first = rows[0].changed_index
        if fitting == 1 and rows[1].changed_index == first:
            fitting = sum(1 for row in rows if row.changed_index == first)
    return tuple(assigned[:fitting]), fitting < len(assigned)


def _assigned(connection: Connection, rows: Sequence[Row[Any]]) -> list[AssignedServer]:
    servers = [server_of(row) for row in rows]
    ports: dict[str, list[Port]] = defaultdict(list)
    for chunk in chunks([server.server_id for server in servers]):
        for port in load_ports(connection, t.ports.c.device_id.in_(chunk), t.ports.c.nic.is_not(None)):
            ports[port.device_id].append(port)
    networks = _networks(connection, (port for listed in ports.values() for port in listed))
    images = _Images(connection, servers)
    return [
        AssignedServer(
            server=server,
            ports=tuple(mine := ports.get(server.server_id, [])),
            networks=tuple(networks[key] for key in dict.fromkeys(port.network_id for port in mine)),
            image=images.source(server.image_id),
            kernel=images.source(images.property_of(server.image_id, _IMAGE_KERNEL)),
            ramdisk=images.source(images.property_of(server.image_id, _IMAGE_RAMDISK)),
            kernel_args=images.property_of(server.image_id, _IMAGE_ARGS) or "",
            image_properties=images.properties(server.image_id),
        )
        for server in servers
    ]


def _networks(connection: Connection, ports: Iterable[Port]) -> dict[str, NetworkForHost]:
    ids = sorted({port.network_id for port in ports})
    subnets: dict[str, list[Subnet]] = defaultdict(list)
    found: dict[str, NetworkForHost] = {}
    for chunk in chunks(ids):
        for subnet in load_subnets(connection, t.subnets.c.network_id.in_(chunk)):
            subnets[subnet.network_id].append(subnet)
        for network in load_networks(connection, t.networks.c.network_id.in_(chunk)):
            found[network.network_id] = NetworkForHost(
                network_id=network.network_id,
                name=network.name,
                strategy=network.strategy,
                physical_network=network.physical_network,
                mtu=network.mtu,
                subnets=tuple(subnets.get(network.network_id, ())),
            )
    return found


class _Images:
    """The images some servers name, and the kernels and ramdisks those name."""

    def __init__(self, connection: Connection, servers: Sequence[Server]) -> None:
        self._rows: dict[str, Row[Any]] = {}
        self._load(connection, {server.image_id for server in servers})
        parts = {self.property_of(i, part) for i in self._rows for part in (_IMAGE_KERNEL, _IMAGE_RAMDISK)}
        self._load(connection, {part for part in parts if part} - set(self._rows))

    def _load(self, connection: Connection, ids: Iterable[str]) -> None:
        for chunk in chunks(sorted(ids)):
            for row in connection.execute(select(t.images).where(t.images.c.image_id.in_(chunk))):
                self._rows[row.image_id] = row

    def properties(self, image_id: str) -> dict[str, str]:
        row = self._rows.get(image_id)
        return {} if row is None else dict(row.properties)

    def property_of(self, image_id: str, name: str) -> str | None:
        return self.properties(image_id).get(name) or None

    def source(self, image_id: str | None) -> ImageSource | None:
        row = self._rows.get(image_id or "")
        if row is None or row.status != ImageStatus.ACTIVE.value:
            return None
        return ImageSource(
            image_id=row.image_id,
            sha256=row.sha256,
            size_bytes=row.size_bytes,
            disk_format=row.disk_format or "raw",
            node_id=row.node_id,
            min_disk_gb=row.min_disk_gb,
        )


def _groups_on(connection: Connection, host_id: str) -> tuple[SecurityGroup, ...]:
    """The groups that ports of this host's servers name."""
    named = (
        select(t.port_security_groups.c.security_group_id)
        .join(t.ports, t.ports.c.port_id == t.port_security_groups.c.port_id)
        .join(t.servers, t.servers.c.server_id == t.ports.c.device_id)
        .where(t.servers.c.host_id == host_id)
    )
    return load_groups(connection, t.security_groups.c.security_group_id.in_(named))


def _addresses_of(connection: Connection, groups: Sequence[SecurityGroup]) -> dict[str, tuple[str, ...]]:
    """Addresses of the members of every group that a rule names as its remote."""
    remote = {rule.remote_group_id for group in groups for rule in group.rules if rule.remote_group_id}
    found: dict[str, list[str]] = {group: [] for group in sorted(remote)}
    g, i = t.port_security_groups.c, t.fixed_ips.c
    for chunk in chunks(sorted(remote)):
        statement = (
            select(g.security_group_id, i.address)
            .join(t.fixed_ips, i.port_id == g.port_id)
            .where(g.security_group_id.in_(chunk))
            .order_by(g.security_group_id, i.address)
        )
        for row in connection.execute(statement):
            found[row.security_group_id].append(row.address)
    return {group: tuple(addresses) for group, addresses in found.items()}
