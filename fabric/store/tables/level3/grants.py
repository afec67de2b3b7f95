"""What servers were given of a host's NUMA cells and PCI devices: decided when one is placed, and no server's
row tells it. Most servers have none. A row leaves with the server, or when it is to go to another host."""

from __future__ import annotations

from sqlalchemy import Column, Index, Table

from fabric.store.tables.base import TEXT, JsonText
from fabric.store.tables.level3.base import level3_metadata

server_grants = Table(
    "server_grants",
    level3_metadata,
    Column("server_id", TEXT, primary_key=True),
    Column("host_id", TEXT, primary_key=True),  # one that moves has one on each
    Column("given", JsonText, nullable=False),  # a Grant
    Index("ix_server_grants_host_id", "host_id", "server_id"),
)
