"""Who is who."""

from __future__ import annotations

from sqlalchemy import Boolean, CheckConstraint, Column, LargeBinary, Table, UniqueConstraint

from fabric.store.tables.base import INT, TEXT, metadata

fabric = Table(  # one row, written by FabricInit
    "fabric",
    metadata,
    Column("id", INT, primary_key=True, autoincrement=False),
    Column("fabric_id", TEXT, nullable=False),
    Column("founder_id", TEXT, nullable=False),
    Column("root_public", LargeBinary, nullable=False),
    Column("domain_id", TEXT, nullable=False),
    Column("domain_name", TEXT, nullable=False),
    Column("admin_project_id", TEXT, nullable=False),
    Column("token_key", LargeBinary, nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)

projects = Table(
    "projects",
    metadata,
    Column("project_id", TEXT, primary_key=True),
    Column("domain_id", TEXT, nullable=False),
    Column("name", TEXT, nullable=False),
    Column("description", TEXT, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("created_ms", INT, nullable=False),
    UniqueConstraint("domain_id", "name"),
)

users = Table(
    "users",
    metadata,
    Column("user_id", TEXT, primary_key=True),
    Column("domain_id", TEXT, nullable=False),
    Column("name", TEXT, nullable=False),
    Column("password_hash", TEXT, nullable=True),
    Column("enabled", Boolean, nullable=False),
    Column("default_project_id", TEXT, nullable=True),
    Column("description", TEXT, nullable=False),
    Column("email", TEXT, nullable=True),
    Column("created_ms", INT, nullable=False),
    Column("password_ms", INT, nullable=False),
    UniqueConstraint("domain_id", "name"),
)

roles = Table(
    "roles",
    metadata,
    Column("role_id", TEXT, primary_key=True),
    Column("name", TEXT, nullable=False),
    Column("description", TEXT, nullable=False),
    Column("immutable", Boolean, nullable=False),  # made by FabricInit: policy names them
    UniqueConstraint("name"),
)

assignments = Table(
    "assignments",
    metadata,
    Column("user_id", TEXT, primary_key=True),
    Column("project_id", TEXT, primary_key=True, index=True),
    Column("role_id", TEXT, primary_key=True, index=True),
)

revoked_tokens = Table(
    "revoked_tokens",
    metadata,
    Column("audit_id", TEXT, primary_key=True),
    Column("expires_ms", INT, nullable=False, index=True),
)

quota_limits = Table(  # project_id "" holds the fabric's defaults, frozen at FabricInit
    "quota_limits",
    metadata,
    Column("project_id", TEXT, primary_key=True),
    Column("resource", TEXT, primary_key=True),
    Column("hard_limit", INT, nullable=False),
)
