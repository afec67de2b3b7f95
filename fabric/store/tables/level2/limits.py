"""Limits beyond those of a project: of a user in one, of the default class, and Identity's unified limits."""

from __future__ import annotations

from sqlalchemy import Column, Table

from fabric.store.tables.base import INT, TEXT
from fabric.store.tables.level2.base import level2_metadata

quota_class_limits = Table(
    "quota_class_limits",
    level2_metadata,
    Column("class_name", TEXT, primary_key=True),
    Column("resource", TEXT, primary_key=True),
    Column("hard_limit", INT, nullable=False),
)

user_quota_limits = Table(
    "user_quota_limits",
    level2_metadata,
    Column("project_id", TEXT, primary_key=True),
    Column("user_id", TEXT, primary_key=True),
    Column("resource", TEXT, primary_key=True),
    Column("hard_limit", INT, nullable=False),
)

registered_limits = Table(  # unique by (service, region, resource): apply checks it, for a region may be None
    "registered_limits",
    level2_metadata,
    Column("limit_id", TEXT, primary_key=True),
    Column("service_id", TEXT, nullable=False),
    Column("region_id", TEXT, nullable=True),
    Column("resource_name", TEXT, nullable=False),
    Column("default_limit", INT, nullable=False),
    Column("description", TEXT, nullable=True),
)

project_limits = Table(  # of a project, or of a domain
    "project_limits",
    level2_metadata,
    Column("limit_id", TEXT, primary_key=True),
    Column("project_id", TEXT, nullable=True, index=True),
    Column("domain_id", TEXT, nullable=True),
    Column("service_id", TEXT, nullable=False),
    Column("region_id", TEXT, nullable=True),
    Column("resource_name", TEXT, nullable=False),
    Column("resource_limit", INT, nullable=False),
    Column("description", TEXT, nullable=True),
)
