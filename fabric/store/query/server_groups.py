"""Server groups with their members."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select

from fabric.core.server_groups.model import ServerGroup
from fabric.core.server_groups.queries import GetServerGroup, ListServerGroups
from fabric.store.query.among import among, rows_among
from fabric.store.query.level import is_at
from fabric.store.query.paging import limit_of, paged
from fabric.store.query.registry import answers
from fabric.store.tables import level2
from proto.ids import ServerGroupId, ServerId

_G, _M = level2.server_groups.c, level2.server_group_members.c
_KEYS = {"created_at": _G.created_ms, "name": _G.name}
_OLDEST_FIRST = (("created_at", "asc"),)
_ONE = select(level2.server_groups).where(_G.group_id == bindparam("id"))
_MEMBERS = select(_M.group_id, _M.server_id).where(among(_M.group_id)).order_by(_M.group_id, _M.server_id)
_GROUP_OF = select(_M.group_id).where(_M.server_id == bindparam("id"))


@answers(GetServerGroup)
def get_server_group(connection: Connection, query: GetServerGroup) -> ServerGroup | None:
    if not is_at(connection, level2.LEVEL):
        return None
    found = _groups(connection, connection.execute(_ONE, {"id": query.group_id}).all())
    return found[0] if found else None


@answers(ListServerGroups)
def list_server_groups(connection: Connection, query: ListServerGroups) -> tuple[ServerGroup, ...]:
    if not is_at(connection, level2.LEVEL):
        return ()
    owned = None if query.project_id is None else _G.project_id == query.project_id
    statement = paged(
        connection,
        select(level2.server_groups) if owned is None else select(level2.server_groups).where(owned),
        query.page,
        base=level2.server_groups,
        keys=_KEYS,
        default=_OLDEST_FIRST,
        identity=_G.group_id,
        visible=owned,
    )
    statement = statement.limit(limit_of(query.page)).offset(query.offset)
    return _groups(connection, connection.execute(statement).all())


def group_of_server(connection: Connection, server_id: ServerId) -> ServerGroupId | None:
    """For rows that are at level 2. Raises SQLAlchemyError."""
    found: ServerGroupId | None = connection.execute(_GROUP_OF, {"id": server_id}).scalar()
    return found


def _groups(connection: Connection, rows: Sequence[Row[Any]]) -> tuple[ServerGroup, ...]:
    members: dict[str, list[ServerId]] = defaultdict(list)
    for row in rows_among(connection, _MEMBERS, [row.group_id for row in rows]):
        members[row.group_id].append(row.server_id)
    return tuple(ServerGroup(**row._mapping, member_ids=tuple(members.get(row.group_id, ()))) for row in rows)
