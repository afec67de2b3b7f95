"""What servers were given of a host's NUMA cells and PCI devices: decided when one is placed, and no server's
row tells it. Most servers have none.

A row counts as long as its server is on that host, or a move holds room for it there (`counts`). Who lets go
of the host has nothing to do here: what does not count any more is taken out when the server is given some
anew, and with the server.
"""

from __future__ import annotations

from sqlalchemy import Column, ColumnElement, Index, Table, exists, or_

from fabric.store.tables.base import TEXT, JsonText
from fabric.store.tables.level3.base import level3_metadata
from fabric.store.tables.level3.moves import moves
from fabric.store.tables.servers import servers

server_grants = Table(
    "server_grants",
    level3_metadata,
    Column("server_id", TEXT, primary_key=True),
    Column("host_id", TEXT, primary_key=True),  # one that moves has one on each
    Column("given", JsonText, nullable=False),  # a Grant
    Index("ix_server_grants_host_id", "host_id", "server_id"),
)

_G = server_grants.c
counts: ColumnElement[bool] = or_(
    exists().where(servers.c.server_id == _G.server_id, servers.c.host_id == _G.host_id),
    exists().where(moves.c.server_id == _G.server_id, moves.c.held_host_id == _G.host_id),
)
