"""Servers: one, many with filters and pages, and the reaper's inbox."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, bindparam, or_, select

from fabric.core.networks.model import Port
from fabric.core.servers.model import Fault, FlavorSnapshot, Server, ServerView
from fabric.core.servers.queries import GetServer, ListOverdue, ListServers, ServerFilter
from fabric.core.servers.states import Desired, PowerState, TaskState, VmState, api_status
from fabric.store import tables as t
from fabric.store.query.among import among, rows_among
from fabric.store.query.host_zone import zone_at
from fabric.store.query.level import level_of
from fabric.store.query.networks import ports_of_servers
from fabric.store.query.paging import limit_of, paged
from fabric.store.query.patterns import compiled
from fabric.store.query.registry import answers
from fabric.store.query.server_groups import group_of_server
from fabric.store.tables import level2

BATCH = 500  # rows read at a time while filtering in memory

_S = t.servers.c
_KEYS: Mapping[str, ColumnElement[Any]] = {  # beside the zone, see `_sort_keys`
    "created_at": _S.created_ms,
    "updated_at": _S.updated_ms,
    "launched_at": _S.launched_ms,
    "display_name": _S.name,
    "name": _S.name,
    "uuid": _S.server_id,
    "project_id": _S.project_id,
    "user_id": _S.user_id,
    "vm_state": _S.vm_state,
    "task_state": _S.task_state,
    "power_state": _S.power_state,
    "host": t.hosts.c.name,
    "node": t.hosts.c.name,
    "image_ref": _S.image_id,
    "instance_type_id": _S.flavor_id,
    "key_name": _S.key_name,
    "hostname": _S.hostname,
    "display_description": _S.description,
    "locked": _S.locked,
    "config_drive": _S.config_drive,
    "launch_index": _S.launch_index,
}
_DEFAULT_SORT = (("created_at", "desc"), ("uuid", "desc"))
_WITH_HOST = t.servers.outerjoin(t.hosts, t.hosts.c.host_id == _S.host_id)
_GROUP_NAMES = select(t.security_groups.c.security_group_id, t.security_groups.c.name).where(
    among(t.security_groups.c.security_group_id)
)
_FLAVOR_FIELDS = ("flavor_id", "vcpus", "memory_mb", "root_gb", "ephemeral_gb", "swap_mb", "extra_specs")
_NOT_IN_SERVER = frozenset(
    {*_FLAVOR_FIELDS, "flavor_name", "host_zone", "changed_index"}
    | {"fault_code", "fault_message", "fault_details", "fault_ms"}
)


@cache
def rows_of_servers(level: int) -> Select[Any]:
    """Server rows with their host's name and zone, for `server_of`, where the rows are at that level."""
    host = (t.hosts.c.name.label("host_name"), zone_at(level).label("host_zone"))
    return select(t.servers, *host).select_from(_WITH_HOST)


@cache
def row_of_server(level: int) -> Select[Any]:
    """The one whose id is given as `id`."""
    return rows_of_servers(level).where(_S.server_id == bindparam("id"))


@cache
def _sort_keys(level: int) -> Mapping[str, ColumnElement[Any]]:
    return {**_KEYS, "availability_zone": zone_at(level)}


def server_of(row: Row[Any]) -> Server:
    fields = dict(row._mapping)
    flavor = FlavorSnapshot(name=row.flavor_name, **{name: fields[name] for name in _FLAVOR_FIELDS})
    fault = None
    if row.fault_code is not None:
        fault = Fault(
            code=row.fault_code,
            message=row.fault_message,
            details=row.fault_details or "",
            created_ms=row.fault_ms,
        )
    kept = {name: value for name, value in fields.items() if name not in _NOT_IN_SERVER}
    return Server(
        **kept
        | {
            "flavor": flavor,
            "fault": fault,
            "zone": row.host_zone,
            "vm_state": VmState(row.vm_state),
            "task_state": None if row.task_state is None else TaskState(row.task_state),
            "desired": Desired(row.desired),
            "power_state": PowerState(row.power_state),
            "tags": tuple(row.tags),
        }
    )


@answers(GetServer)
def get_server(connection: Connection, query: GetServer) -> ServerView | None:
    level = level_of(connection)
    row = connection.execute(row_of_server(level), {"id": query.server_id}).first()
    if row is None:
        return None
    view = next(views(connection, [server_of(row)]))
    if level < level2.LEVEL:
        return view
    return replace(view, server_group_id=group_of_server(connection, query.server_id))


@answers(ListServers)
def list_servers(connection: Connection, query: ListServers) -> tuple[ServerView, ...]:
    wanted, limit = query.filter, limit_of(query.page)
    level = level_of(connection)
    name, address = compiled(wanted.name_regex, "name"), compiled(wanted.ip_regex, "ip")
    statement = paged(
        connection,
        _filtered(rows_of_servers(level), wanted, level),
        query.page,
        base=_WITH_HOST,
        keys=_sort_keys(level),
        default=_DEFAULT_SORT,
        identity=_S.server_id,
        visible=None if wanted.project_id is None else _S.project_id == wanted.project_id,
    )
    if name is None and address is None and not wanted.statuses and not wanted.tags_all:
        statement = statement.limit(limit)
    found: list[ServerView] = []
    for batch in _batches(connection, statement, limit):
        servers = [server for server in map(server_of, batch) if _matches(server, wanted, name)]
        for view in views(connection, servers):
            if address is None or _has_address(view.ports, address):
                found.append(view)
                if len(found) == limit:
                    return tuple(found)
    return tuple(found)


@answers(ListOverdue)
def list_overdue(connection: Connection, query: ListOverdue) -> tuple[Server, ...]:
    statement = (
        rows_of_servers(level_of(connection))
        .where(_S.deadline_ms.is_not(None), _S.deadline_ms <= query.now_ms)
        .order_by(_S.deadline_ms, _S.server_id)
        .limit(query.limit)
    )
    return tuple(server_of(row) for row in connection.execute(statement))


def views(connection: Connection, servers: Sequence[Server]) -> Iterator[ServerView]:
    """Servers with their ports and the names of their security groups, in the order given."""
    ports = ports_of_servers(connection, [server.server_id for server in servers])
    ids = sorted({group for listed in ports.values() for port in listed for group in port.security_group_ids})
    rows = rows_among(connection, _GROUP_NAMES, ids)
    names: dict[str, str] = {row.security_group_id: row.name for row in rows}
    for server in servers:
        mine = ports.get(server.server_id, [])
        groups = {names[group] for port in mine for group in port.security_group_ids if group in names}
        yield ServerView(server=server, ports=tuple(mine), security_groups=tuple(sorted(groups)))


def _batches(connection: Connection, statement: Select[Any], limit: int) -> Iterator[Sequence[Row[Any]]]:
    """Rows in order, no more at a time than a page is likely to need."""
    if limit == 0:
        return
    with connection.execute(statement.execution_options(stream_results=True)) as rows:
        while batch := rows.fetchmany(min(BATCH, limit)):
            yield batch


def _matches(server: Server, wanted: ServerFilter, name: re.Pattern[str] | None) -> bool:
    if name is not None and name.search(server.name) is None:
        return False
    if wanted.statuses and api_status(server.vm_state, server.task_state) not in wanted.statuses:
        return False
    return set(wanted.tags_all) <= set(server.tags)


def _has_address(ports: Sequence[Port], pattern: re.Pattern[str]) -> bool:
    return any(pattern.search(fixed.address) for port in ports for fixed in port.fixed_ips)


def _filtered(statement: Select[Any], wanted: ServerFilter, level: int) -> Select[Any]:
    for column, value in (
        (_S.project_id, wanted.project_id),
        (_S.flavor_id, wanted.flavor_id),
        (_S.image_id, wanted.image_id),
        (t.hosts.c.name, wanted.host_name),
        (_S.user_id, wanted.user_id),
        (_S.key_name, wanted.key_name),
        (_S.vm_state, wanted.vm_state),
        (_S.task_state, wanted.task_state),
        (_S.reservation_id, wanted.reservation_id),
        (_S.locked, wanted.locked),
    ):
        if value is not None:
            statement = statement.where(column == value)
    if wanted.description is not None:
        statement = statement.where(_S.description.contains(wanted.description, autoescape=True))
    if wanted.zone is not None:
        unplaced = and_(_S.host_id.is_(None), _S.zone_wanted == wanted.zone)
        statement = statement.where(or_(zone_at(level) == wanted.zone, unplaced))
    if wanted.server_ids:
        statement = statement.where(_S.server_id.in_(wanted.server_ids))
    if wanted.changed_since_ms is not None:
        statement = statement.where(_S.updated_ms >= wanted.changed_since_ms)
    if wanted.changed_before_ms is not None:
        statement = statement.where(_S.updated_ms <= wanted.changed_before_ms)
    if wanted.statuses:
        statement = statement.where(_S.vm_state.in_(_vm_states(wanted.statuses)))
    return statement


def _vm_states(statuses: Sequence[str]) -> list[str]:
    """Every vm_state that can show one of the statuses: SQL narrows, `_matches` decides."""
    tasks: tuple[TaskState | None, ...] = (None, *TaskState)
    return [state.value for state in VmState if any(api_status(state, task) in statuses for task in tasks)]
