"""What tenants choose from: flavors, key pairs, images."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Table, UniqueConstraint

from fabric.store.tables.base import INT, TEXT, JsonText, metadata

flavors = Table(
    "flavors",
    metadata,
    Column("flavor_id", TEXT, primary_key=True),
    Column("name", TEXT, nullable=False),
    Column("vcpus", INT, nullable=False),
    Column("memory_mb", INT, nullable=False),
    Column("root_gb", INT, nullable=False),
    Column("ephemeral_gb", INT, nullable=False),
    Column("swap_mb", INT, nullable=False),
    Column("is_public", Boolean, nullable=False),
    Column("description", TEXT, nullable=True),
    Column("rxtx_factor_milli", INT, nullable=False),
    Column("extra_specs", JsonText, nullable=False),
    Column("created_ms", INT, nullable=False),
    UniqueConstraint("name"),
)

flavor_access = Table(
    "flavor_access",
    metadata,
    Column("flavor_id", TEXT, primary_key=True),
    Column("project_id", TEXT, primary_key=True, index=True),
)

keypairs = Table(
    "keypairs",
    metadata,
    Column("user_id", TEXT, primary_key=True),
    Column("name", TEXT, primary_key=True),
    Column("key_type", TEXT, nullable=False),
    Column("public_key", TEXT, nullable=False),
    Column("fingerprint", TEXT, nullable=False),
    Column("created_ms", INT, nullable=False),
)

images = Table(
    "images",
    metadata,
    Column("image_id", TEXT, primary_key=True),
    Column("project_id", TEXT, nullable=False, index=True),
    Column("name", TEXT, nullable=True),
    Column("status", TEXT, nullable=False),
    Column("visibility", TEXT, nullable=False),
    Column("disk_format", TEXT, nullable=True),
    Column("container_format", TEXT, nullable=True),
    Column("min_disk_gb", INT, nullable=False),
    Column("min_ram_mb", INT, nullable=False),
    Column("protected", Boolean, nullable=False),
    Column("os_hidden", Boolean, nullable=False),
    Column("properties", JsonText, nullable=False),
    Column("tags", JsonText, nullable=False),
    Column("size_bytes", INT, nullable=True),
    Column("virtual_bytes", INT, nullable=True),
    Column("md5", TEXT, nullable=True),
    Column("sha512", TEXT, nullable=True),
    Column("sha256", TEXT, nullable=True, index=True),
    Column("node_id", TEXT, nullable=True),
    Column("generation", INT, nullable=False),
    Column("created_ms", INT, nullable=False),
    Column("updated_ms", INT, nullable=False),
)
