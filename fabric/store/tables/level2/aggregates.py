"""Host aggregates; an availability zone is one with the metadata `availability_zone`, as in Nova."""

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
    Column("metadata", JsonText, nullable=False),
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
