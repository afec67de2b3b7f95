"""Which of their hosts' cells and devices servers have."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select

from fabric.core.servers.model import Server
from fabric.core.topology.model import Grant
from fabric.store.query.among import among, rows_among, rows_or_all
from fabric.store.query.level import is_at
from fabric.store.tables import level3
from proto.ids import NodeId, ServerId
from proto.records import from_wire

_G = level3.server_grants.c
_ALL = select(_G.host_id, _G.server_id, _G.given).where(level3.counts).order_by(_G.host_id, _G.server_id)
_ON_HOSTS = _ALL.where(among(_G.host_id))
_OF_SERVERS = _ALL.where(among(_G.server_id))

Held = dict[NodeId, dict[ServerId, Grant]]


def grants_on_hosts(connection: Connection, host_ids: Sequence[NodeId]) -> Held | None:
    """Without ids, on all. None: the rows are below level 3, where cells and devices are nobody's matter."""
    if not is_at(connection, level3.LEVEL):
        return None
    found: Held = {}
    for row in rows_or_all(connection, _ALL, _ON_HOSTS, host_ids):
        found.setdefault(row.host_id, {})[row.server_id] = from_wire(Grant, row.given)
    return found


def grants_on(connection: Connection, host_id: NodeId, servers: Sequence[Server]) -> dict[ServerId, Grant]:
    """What each has there: on its host, or on the one that it goes to."""
    if not servers or not is_at(connection, level3.LEVEL):
        return {}
    ids = [server.server_id for server in servers]
    return {
        row.server_id: from_wire(Grant, row.given)
        for row in rows_among(connection, _OF_SERVERS, ids)
        if row.host_id == host_id
    }
