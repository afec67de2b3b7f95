"""Host aggregates. Nova's metadata `availability_zone` has a column of its own, for a host's zone is found by
it; views show it among the others."""

from __future__ import annotations

from sqlalchemy import Column, Table, UniqueConstraint

from fabric.store.tables.base import INT, TEXT, JsonText
from fabric.store.tables.level2.base import level2_metadata

aggregates = Table(
    "aggregates",
    level2_metadata,
    Column("aggregate_id", INT, primary_key=True, autoincrement=False),  # Nova's are small numbers
    Column("uuid", TEXT, nullable=False),
    Column("name", TEXT, nullable=False),
    Column("availability_zone", TEXT, nullable=True),  # None: the aggregate is no zone
    Column("metadata", JsonText, nullable=False),  # without the zone
    Column("created_ms", INT, nullable=False),
    Column("updated_ms", INT, nullable=True),
    UniqueConstraint("uuid"),
    UniqueConstraint("name"),
)

aggregate_hosts = Table(
    "aggregate_hosts",
    level2_metadata,
    Column("aggregate_id", INT, primary_key=True, autoincrement=False),
    Column("host_id", TEXT, primary_key=True, index=True),
)
