"""Server groups, who is in them, and what else a server's owner asked of the scheduler."""

from __future__ import annotations

from sqlalchemy import Column, Table

from fabric.store.tables.base import INT, TEXT, JsonText
from fabric.store.tables.level2.base import level2_metadata

server_groups = Table(
    "server_groups",
    level2_metadata,
    Column("group_id", TEXT, primary_key=True),
    Column("project_id", TEXT, nullable=False, index=True),
    Column("user_id", TEXT, nullable=False),
    Column("name", TEXT, nullable=False),
    Column("policy", TEXT, nullable=False),  # affinity, anti-affinity, soft-affinity, soft-anti-affinity
    Column("max_server_per_host", INT, nullable=True),  # of anti-affinity; None: 1
    Column("created_ms", INT, nullable=False),
)

server_group_members = Table(  # rows leave with their server
    "server_group_members",
    level2_metadata,
    Column("server_id", TEXT, primary_key=True),
    Column("group_id", TEXT, nullable=False, index=True),
)

server_hints = Table(  # none for a server that was asked for without any
    "server_hints",
    level2_metadata,
    Column("server_id", TEXT, primary_key=True),
    Column("hints", JsonText, nullable=False),  # name -> text or list of texts, without `group`
)
