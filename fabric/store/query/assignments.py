"""A host's desired state: which servers are its own, and all it needs to bring the changed ones about."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, select

from fabric.core.images.model import ImageStatus
from fabric.core.moves.model import may_be_moving
from fabric.core.networks.model import SecurityGroup, Subnet
from fabric.core.servers.model import AssignedServer, HostAssignments, ImageSource, NetworkForHost, Server
from fabric.core.servers.queries import GetAssignments
from fabric.core.servers.states import VmState
from fabric.store import tables as t
from fabric.store.query.among import among, rows_among
from fabric.store.query.grants import grants_on
from fabric.store.query.level import level_of
from fabric.store.query.moves import arriving_on, open_moves, parked_on, told_to_host
from fabric.store.query.networks import groups_of, networks_among, ports_of_servers, subnets_of_networks
from fabric.store.query.registry import answers
from fabric.store.query.servers import rows_of_servers, server_of
from fabric.store.query.shelved import image_of, saved_among
from proto.codec import pack
from proto.ids import NodeId, ServerId
from proto.records import to_wire

ENVELOPE_BYTES = 16 * 1024  # for the ids, groups and framing around the servers
SERVERS_MAX = 500  # read for one answer
ANSWER_BYTES_LIMIT = 16 << 20  # of one encoded server, only to measure it

_S, _P, _PG, _I = t.servers.c, t.ports.c, t.port_security_groups.c, t.fixed_ips.c
_APPLIED = select(t.position.c.applied_index)
_ENABLED = select(t.hosts.c.enabled, t.hosts.c.disabled_reason).where(
    t.hosts.c.host_id == bindparam("host_id")
)
_SERVER_IDS = select(_S.server_id).where(_S.host_id == bindparam("host_id")).order_by(_S.server_id)
_IMAGES = select(t.images).where(among(t.images.c.image_id))
_GROUPS_ON = (  # that ports of a host's servers name
    select(t.security_groups)
    .where(
        t.security_groups.c.security_group_id.in_(
            select(_PG.security_group_id)
            .join(t.ports, _P.port_id == _PG.port_id)
            .join(t.servers, _S.server_id == _P.device_id)
            .where(_S.host_id == bindparam("host_id"))
        )
    )
    .order_by(t.security_groups.c.created_ms, t.security_groups.c.security_group_id)
)
_GROUPS_OF = (  # that ports of these servers name
    select(t.security_groups)
    .where(
        t.security_groups.c.security_group_id.in_(
            select(_PG.security_group_id).join(t.ports, _P.port_id == _PG.port_id).where(among(_P.device_id))
        )
    )
    .order_by(t.security_groups.c.created_ms, t.security_groups.c.security_group_id)
)
_MEMBERS = (
    select(_PG.security_group_id, _I.address)
    .join(t.fixed_ips, _I.port_id == _PG.port_id)
    .where(among(_PG.security_group_id))
    .order_by(_PG.security_group_id, _I.address)
)
_IMAGE_KERNEL, _IMAGE_RAMDISK, _IMAGE_ARGS = "kernel_id", "ramdisk_id", "os_command_line"


@cache
def _changed(level: int) -> Select[Any]:
    """For rows at that level."""
    return (
        rows_of_servers(level)
        .where(_S.host_id == bindparam("host_id"), _S.changed_index > bindparam("since_index"))
        .order_by(_S.changed_index, _S.server_id)
        .limit(SERVERS_MAX + 1)
    )


@cache
def _of_ids(level: int) -> Select[Any]:
    return rows_of_servers(level).where(among(_S.server_id)).order_by(_S.server_id)


@answers(GetAssignments)
def get_assignments(connection: Connection, query: GetAssignments) -> HostAssignments:
    applied = connection.execute(_APPLIED).scalar_one()
    host = {"host_id": query.host_id}
    server_ids: tuple[ServerId, ...] = tuple(connection.execute(_SERVER_IDS, host).scalars())
    changed = _changed(level_of(connection))
    rows = connection.execute(changed, {**host, "since_index": query.since_index}).all()
    more, rows = len(rows) > SERVERS_MAX, rows[:SERVERS_MAX]
    arriving_ids = arriving_on(connection, query.host_id)
    budget = query.bytes_max - ENVELOPE_BYTES - 40 * (len(server_ids) + len(arriving_ids))
    arriving, taken = _arriving(connection, query.host_id, arriving_ids, budget // 2)
    assigned, cut = _fitting(connection, query.host_id, rows, budget - taken)
    more = more or cut
    kept = rows[: len(assigned)]
    groups = _groups_on(connection, query.host_id, arriving_ids)
    registered = connection.execute(_ENABLED, host).one_or_none()
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
        parked=parked_on(connection, query.host_id),
        arriving_ids=tuple(ServerId(each) for each in arriving_ids),
        arriving=arriving,
        is_enabled=registered is None or registered.enabled is not False,
        disabled_reason="" if registered is None else registered.disabled_reason or "",
    )


def _arriving(
    connection: Connection, host_id: NodeId, server_ids: Sequence[str], budget: int
) -> tuple[tuple[AssignedServer, ...], int]:
    """As many as fit, and the bytes that they take. The others' turn comes when these have arrived."""
    if not server_ids:
        return (), 0
    rows = rows_among(connection, _of_ids(level_of(connection)), sorted(server_ids))
    fitting: list[AssignedServer] = []
    used = 0
    for one in _assigned(connection, host_id, list(rows)):
        size = len(pack(to_wire(one), limit=ANSWER_BYTES_LIMIT))
        if used + size > budget and fitting:
            break
        fitting.append(one)
        used += size
    return tuple(fitting), used


def _fitting(
    connection: Connection, host_id: NodeId, rows: Sequence[Row[Any]], budget: int
) -> tuple[tuple[AssignedServer, ...], bool]:
    """As many as fit the budget, but always whole groups of one changed_index, and never none: an
    answer without progress would be asked for ever."""
    assigned = _assigned(connection, host_id, rows)
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


def _assigned(connection: Connection, host_id: NodeId, rows: Sequence[Row[Any]]) -> list[AssignedServer]:
    servers = [server_of(row) for row in rows]
    ports = ports_of_servers(connection, [server.server_id for server in servers])
    networks = _networks(connection, {port.network_id for listed in ports.values() for port in listed})
    saved = saved_among(connection, servers)
    made_of = {server.server_id: image_of(server, saved) for server in servers}
    images = _Images(connection, made_of.values())
    moves = open_moves(
        connection, [each.server_id for each in servers if may_be_moving(each.vm_state, each.task_state)]
    )
    grants = grants_on(connection, host_id, servers)
    return [
        AssignedServer(
            server=_as_new(server) if server.server_id in saved else server,
            ports=tuple(mine := ports.get(server.server_id, [])),
            networks=tuple(networks[key] for key in dict.fromkeys(port.network_id for port in mine)),
            image=images.source(image_id := made_of[server.server_id]),
            kernel=images.source(images.property_of(image_id, _IMAGE_KERNEL)),
            ramdisk=images.source(images.property_of(image_id, _IMAGE_RAMDISK)),
            kernel_args=images.property_of(image_id, _IMAGE_ARGS) or "",
            is_from_shelf=server.server_id in saved,
            image_properties=images.properties(image_id),
            move=told_to_host(moves[server.server_id]) if server.server_id in moves else None,
            grant=grants.get(server.server_id),
        )
        for server in servers
    ]


def _as_new(server: Server) -> Server:
    """One that is built from what it was shelved to never ran, for all that its host is concerned."""
    is_shelved = server.vm_state is VmState.SHELVED_OFFLOADED
    return replace(server, launched_ms=None, vm_state=VmState.BUILDING if is_shelved else server.vm_state)


def _networks(connection: Connection, network_ids: Iterable[str]) -> dict[str, NetworkForHost]:
    ids = sorted(network_ids)
    subnets: dict[str, list[Subnet]] = defaultdict(list)
    for subnet in subnets_of_networks(connection, ids):
        subnets[subnet.network_id].append(subnet)
    return {
        network.network_id: NetworkForHost(
            network_id=network.network_id,
            name=network.name,
            strategy=network.strategy,
            physical_network=network.physical_network,
            mtu=network.mtu,
            subnets=tuple(subnets.get(network.network_id, ())),
        )
        for network in networks_among(connection, ids)
    }


class _Images:
    """Some images, and the kernels and ramdisks that they name."""

    def __init__(self, connection: Connection, image_ids: Iterable[str]) -> None:
        self._rows: dict[str, Row[Any]] = {}
        self._load(connection, set(image_ids))
        parts = {self.property_of(i, part) for i in self._rows for part in (_IMAGE_KERNEL, _IMAGE_RAMDISK)}
        self._load(connection, {part for part in parts if part} - set(self._rows))

    def _load(self, connection: Connection, ids: Iterable[str]) -> None:
        for row in rows_among(connection, _IMAGES, sorted(ids)):
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


def _groups_on(connection: Connection, host_id: str, arriving: Sequence[str]) -> tuple[SecurityGroup, ...]:
    rows = list(connection.execute(_GROUPS_ON, {"host_id": host_id}))
    known = {row.security_group_id for row in rows}
    others = rows_among(connection, _GROUPS_OF, sorted(arriving)) if arriving else ()
    rows += [row for row in others if row.security_group_id not in known]
    return groups_of(connection, rows)


def _addresses_of(connection: Connection, groups: Sequence[SecurityGroup]) -> dict[str, tuple[str, ...]]:
    """Addresses of the members of every group that a rule names as its remote."""
    remote = {rule.remote_group_id for group in groups for rule in group.rules if rule.remote_group_id}
    found: dict[str, list[str]] = {group: [] for group in sorted(remote)}
    for row in rows_among(connection, _MEMBERS, sorted(remote)):
        found[row.security_group_id].append(row.address)
    return {group: tuple(addresses) for group, addresses in found.items()}
