"""Servers: wish, state and frozen flavor in one row."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Index, LargeBinary, Table

from fabric.store.tables.base import INT, TEXT, JsonText, metadata

servers = Table(
    "servers",
    metadata,
    Column("server_id", TEXT, primary_key=True),
    Column("project_id", TEXT, nullable=False),
    Column("user_id", TEXT, nullable=False),
    Column("request_id", TEXT, nullable=False),
    Column("name", TEXT, nullable=False),
    Column("hostname", TEXT, nullable=False),
    Column("description", TEXT, nullable=True),
    Column("flavor_id", TEXT, nullable=False),
    Column("flavor_name", TEXT, nullable=False),
    Column("vcpus", INT, nullable=False),
    Column("memory_mb", INT, nullable=False),
    Column("root_gb", INT, nullable=False),
    Column("ephemeral_gb", INT, nullable=False),
    Column("swap_mb", INT, nullable=False),
    Column("extra_specs", JsonText, nullable=False),
    Column("image_id", TEXT, nullable=False),
    Column("zone_wanted", TEXT, nullable=True),
    Column("host_wanted", TEXT, nullable=True),
    Column("host_id", TEXT, nullable=True),  # None until placed
    Column("key_name", TEXT, nullable=True),
    Column("key_type", TEXT, nullable=False),
    Column("public_key", TEXT, nullable=True),
    Column("user_data", LargeBinary, nullable=True),
    Column("admin_pass", TEXT, nullable=True),  # erased when the server first turns ACTIVE
    Column("metadata", JsonText, nullable=False),
    Column("tags", JsonText, nullable=False),
    Column("config_drive", Boolean, nullable=False),
    Column("launch_index", INT, nullable=False),
    Column("reservation_id", TEXT, nullable=False),
    Column("vm_state", TEXT, nullable=False),
    Column("task_state", TEXT, nullable=True),
    Column("desired", TEXT, nullable=False),
    Column("power_state", TEXT, nullable=False),
    Column("generation", INT, nullable=False),
    Column("action_generation", INT, nullable=False),
    Column("deadline_ms", INT, nullable=True),
    Column("locked", Boolean, nullable=False),
    Column("locked_reason", TEXT, nullable=True),
    Column("fault_code", INT, nullable=True),
    Column("fault_message", TEXT, nullable=True),
    Column("fault_details", TEXT, nullable=True),
    Column("fault_ms", INT, nullable=True),
    Column("created_ms", INT, nullable=False),
    Column("updated_ms", INT, nullable=False),
    Column("launched_ms", INT, nullable=True),
    Column("changed_index", INT, nullable=False),  # the log index of the last write to it or its ports
    # The first two cover their sums, so that quota and capacity never read whole rows.
    Index("ix_servers_quota", "project_id", "vcpus", "memory_mb"),
    Index("ix_servers_claims", "host_id", "vcpus", "memory_mb", "root_gb", "ephemeral_gb", "swap_mb"),
    Index("ix_servers_host_changed", "host_id", "changed_index"),
    Index("ix_servers_created", "created_ms", "server_id"),
    Index("ix_servers_project_created", "project_id", "created_ms", "server_id"),
    Index("ix_servers_task", "task_state", "created_ms"),
    Index("ix_servers_deadline", "deadline_ms"),
)
