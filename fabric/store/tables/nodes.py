"""Nodes, hosts, join tokens, role grants. Liveness is never a row."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, LargeBinary, Table, UniqueConstraint

from fabric.store.tables.base import INT, TEXT, metadata

nodes = Table(
    "nodes",
    metadata,
    Column("node_id", TEXT, primary_key=True),
    Column("name", TEXT, nullable=False),
    Column("curve_public", LargeBinary, nullable=False),
    Column("certificate", LargeBinary, nullable=False),
    Column("admitted_ms", INT, nullable=False),
    Column("generation", INT, nullable=False),  # of the certificate
    Column("body", LargeBinary, nullable=False),  # with `signature` the first state signed with this key
    Column("signature", LargeBinary, nullable=False),  # both empty in rows older than these columns
    UniqueConstraint("name"),
    UniqueConstraint("curve_public"),
)

removed_nodes = Table(  # kept for ever: neither the id nor the key may come back
    "removed_nodes",
    metadata,
    Column("node_id", TEXT, primary_key=True),
    Column("name", TEXT, nullable=False),
    Column("curve_public", LargeBinary, nullable=False, index=True),
    Column("removed_ms", INT, nullable=False),
    Column("removal_body", LargeBinary, nullable=False),
    Column("removal_signature", LargeBinary, nullable=False),
)

join_tokens = Table(
    "join_tokens",
    metadata,
    Column("token_id", TEXT, primary_key=True),
    Column("secret_hash", LargeBinary, nullable=False),
    Column("expires_ms", INT, nullable=False),
    Column("uses_left", INT, nullable=False),
    Column("door_public", LargeBinary, nullable=False),  # empty in rows older than this column
)

hosts = Table(
    "hosts",
    metadata,
    Column("host_id", TEXT, primary_key=True),
    Column("number", INT, nullable=False),
    Column("name", TEXT, nullable=False),
    Column("address", TEXT, nullable=False),
    Column("zone", TEXT, nullable=False),
    Column("hypervisor_type", TEXT, nullable=False),
    Column("hypervisor_version", INT, nullable=False),
    Column("arch", TEXT, nullable=False),
    Column("vcpus", INT, nullable=False),
    Column("memory_mb", INT, nullable=False),
    Column("disk_gb", INT, nullable=False),
    Column("cpu_ratio_milli", INT, nullable=False),
    Column("memory_ratio_milli", INT, nullable=False),
    Column("disk_ratio_milli", INT, nullable=False),
    Column("reserved_memory_mb", INT, nullable=False),
    Column("version", TEXT, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("disabled_reason", TEXT, nullable=True),
    Column("forced_down", Boolean, nullable=False),
    Column("created_ms", INT, nullable=False),
    Column("updated_ms", INT, nullable=False),
    UniqueConstraint("number"),
    UniqueConstraint("name"),
)

role_grants = Table(
    "role_grants",
    metadata,
    Column("role", TEXT, primary_key=True),
    Column("node_id", TEXT, nullable=False),
    Column("fence", INT, nullable=False),  # the index of the granting entry
    Column("since_ms", INT, nullable=False),
)

voter_wishes = Table(  # the operator's word on who votes; nodes without a row are the conductor's to choose
    "voter_wishes",
    metadata,
    Column("node_id", TEXT, primary_key=True),
    Column("wish", TEXT, nullable=False),
)
