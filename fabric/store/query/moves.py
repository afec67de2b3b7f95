"""Moves: their history, and those that wait for a host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, bindparam, or_, select

from fabric.core.moves.model import WAITS_FOR_HOST, Move, MoveKind, MoveOfServer, MoveStatus, ParkedServer
from fabric.core.moves.queries import GetOpenMove, ListMoves, MoveFilter
from fabric.core.queries import BadFilterError
from fabric.core.servers.states import Desired
from fabric.store import tables as t
from fabric.store.query.among import among, rows_among
from fabric.store.query.level import is_at
from fabric.store.query.registry import answers
from fabric.store.tables import level3
from proto.ids import NodeId, ServerId

LIMIT_MAX = 1_000

_M, _S = level3.moves.c, t.servers.c
_NOT_IN_MOVE = frozenset(
    {"held_host_id", "stays_off", "arrive_ms", "vm_state", "extra_specs", "is_open"}
    | {"vcpus", "memory_mb", "root_gb", "ephemeral_gb", "swap_mb"}
)
_COLUMNS = [column for column in _M if column.name not in _NOT_IN_MOVE]
_ALL = select(*_COLUMNS).order_by(_M.number.desc())
_WAITING = (
    select(*_COLUMNS)
    .join(t.servers, _S.server_id == _M.server_id)
    .where(_M.is_open.is_(True), _M.dest_host_id.is_(None))
    .where(_S.task_state.in_(sorted(task.value for task in WAITS_FOR_HOST)))
    .order_by(_M.number)
)
_OPEN_OF = select(*_COLUMNS).where(_M.is_open.is_(True), among(_M.server_id))
# Of a host, open moves are found by what it holds for them: by an index, and not among all that ever were.
_HELD_HERE = _M.held_host_id == bindparam("host_id")
_PARKED = (  # nothing of them may run on the host: it was left for another
    select(_M.server_id, _M.dest_host_id)
    .join(t.servers, _S.server_id == _M.server_id)
    .where(_HELD_HERE, _M.source_host_id == bindparam("host_id"), _S.host_id != _M.source_host_id)
    .where(_M.is_open.is_(True), _M.dest_host_id.is_not(None))
    .order_by(_M.server_id)
)

_ARRIVING = (
    select(_M.server_id)
    .join(t.servers, _S.server_id == _M.server_id)
    .where(
        _HELD_HERE,
        _M.dest_host_id == bindparam("host_id"),
        _M.is_open.is_(True),
        _M.kind == MoveKind.LIVE.value,
        _S.desired != Desired.ABSENT.value,
    )
    .order_by(_M.server_id)
)


@answers(ListMoves)
def list_moves(connection: Connection, query: ListMoves) -> tuple[Move, ...]:
    if not is_at(connection, level3.LEVEL):
        return ()
    statement = _ALL.where(*_conditions(query.filter))
    if query.marker is not None:
        marked = connection.execute(select(_M.number).where(_M.move_id == query.marker)).first()
        if marked is None:
            raise BadFilterError(f"Marker {query.marker} could not be found.")
        statement = statement.where(_M.number < marked.number)
    rows = connection.execute(statement.limit(min(query.limit, LIMIT_MAX)))
    return tuple(move_of(row) for row in rows)


def _conditions(wanted: MoveFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = [
        column == value
        for column, value in (
            (_M.server_id, wanted.server_id),
            (_M.source_name, wanted.source_name),
            (_M.kind, wanted.kind),
            (_M.user_id, wanted.user_id),
            (_M.project_id, wanted.project_id),
        )
        if value is not None
    ]
    if wanted.host is not None:
        found.append(or_(_M.source_name == wanted.host, _M.dest_name == wanted.host))
    if wanted.statuses:
        found.append(_M.status.in_(wanted.statuses))
    if wanted.changed_since_ms is not None:
        found.append(_M.updated_ms >= wanted.changed_since_ms)
    if wanted.changed_before_ms is not None:
        found.append(_M.updated_ms <= wanted.changed_before_ms)
    return found


@answers(GetOpenMove)
def get_open_move(connection: Connection, query: GetOpenMove) -> Move | None:
    return open_moves(connection, [query.server_id]).get(query.server_id)


def waiting_moves(connection: Connection, limit: int) -> Sequence[Move]:
    """That the scheduler has to find a host for, oldest first."""
    if not is_at(connection, level3.LEVEL):
        return ()
    return [move_of(row) for row in connection.execute(_WAITING.limit(limit))]


def open_moves(connection: Connection, server_ids: Sequence[str]) -> Mapping[str, Move]:
    """By server."""
    if not server_ids or not is_at(connection, level3.LEVEL):
        return {}
    return {row.server_id: move_of(row) for row in rows_among(connection, _OPEN_OF, sorted(server_ids))}


def told_to_host(move: Move) -> MoveOfServer:
    return MoveOfServer(
        move_id=move.move_id,
        kind=move.kind,
        source_host_id=move.source_host_id,
        dest_host_id=move.dest_host_id,
        status=move.status.value,
    )


def arriving_on(connection: Connection, host_id: str) -> tuple[str, ...]:
    """Servers whose guests come there live, and are another host's still."""
    if not is_at(connection, level3.LEVEL):
        return ()
    return tuple(connection.execute(_ARRIVING, {"host_id": host_id}).scalars())


def parked_on(connection: Connection, host_id: str) -> tuple[ParkedServer, ...]:
    if not is_at(connection, level3.LEVEL):
        return ()
    rows = connection.execute(_PARKED, {"host_id": host_id})
    return tuple(
        ParkedServer(server_id=ServerId(row.server_id), to_host_id=NodeId(row.dest_host_id)) for row in rows
    )


def move_of(row: Row[Any]) -> Move:
    fields = dict(row._mapping)
    return Move(**fields | {"kind": MoveKind(row.kind), "status": MoveStatus(row.status)})
