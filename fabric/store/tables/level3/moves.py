"""Servers' moves from host to host, and what the other end of one holds. Ended ones are history."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Index, Table, UniqueConstraint

from fabric.store.tables.base import INT, TEXT, JsonText
from fabric.store.tables.level3.base import level3_metadata

moves = Table(
    "moves",
    level3_metadata,
    Column("move_id", TEXT, primary_key=True),
    Column("number", INT, nullable=False),
    Column("server_id", TEXT, nullable=False),
    Column("project_id", TEXT, nullable=False),
    Column("user_id", TEXT, nullable=False),
    Column("kind", TEXT, nullable=False),
    Column("status", TEXT, nullable=False),
    Column("source_host_id", TEXT, nullable=False),
    Column("source_name", TEXT, nullable=False),  # a host's row may go, what happened stays
    Column("dest_host_id", TEXT, nullable=True),
    Column("dest_name", TEXT, nullable=True),
    Column("host_wanted", TEXT, nullable=True),
    Column("held_host_id", TEXT, nullable=True),  # beside the server's own; None once the move is over
    Column("stays_off", Boolean, nullable=False),
    Column("arrive_ms", INT, nullable=False),  # how long it may take from one host to the other
    Column("vm_state", TEXT, nullable=False),  # of the server before
    Column("flavor_id", TEXT, nullable=False),
    Column("vcpus", INT, nullable=False),  # what is held there, as a server's row has it
    Column("memory_mb", INT, nullable=False),
    Column("root_gb", INT, nullable=False),
    Column("ephemeral_gb", INT, nullable=False),
    Column("swap_mb", INT, nullable=False),
    Column("extra_specs", JsonText, nullable=False),
    Column("message", TEXT, nullable=False),
    Column("is_open", Boolean, nullable=False),
    Column("created_ms", INT, nullable=False),
    Column("updated_ms", INT, nullable=False),
    UniqueConstraint("number"),
    Index("ix_moves_server_id", "server_id", "is_open"),
    Index("ix_moves_held_host_id", "held_host_id"),
)
