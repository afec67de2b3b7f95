"""Hosts on which a server could not be built: it is tried elsewhere. Rows leave when it runs, or goes."""

from __future__ import annotations

from sqlalchemy import Column, Table

from fabric.store.tables.base import INT, TEXT
from fabric.store.tables.level2.base import level2_metadata

failed_builds = Table(
    "failed_builds",
    level2_metadata,
    Column("server_id", TEXT, primary_key=True),
    Column("host_id", TEXT, primary_key=True),
    Column("message", TEXT, nullable=False),  # what that host said
    Column("failed_ms", INT, nullable=False),
)
