"""Limits beside `quota_limits`, which keeps every number: of a project, of a domain, and by default.

What is here is what that table cannot say: a user's own limits, quota classes other than the default one, and
what Keystone's unified limits have besides a number.
"""

from __future__ import annotations

from sqlalchemy import Column, Table, UniqueConstraint

from fabric.store.tables.base import INT, TEXT
from fabric.store.tables.level2.base import level2_metadata

quota_class_limits = Table(  # the class "default" is not here: it is the defaults in `quota_limits`
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

registered_limits = (
    Table(  # those that somebody registered; `core/quotas/unified.py` says where the number is
        "registered_limits",
        level2_metadata,
        Column("limit_id", TEXT, primary_key=True),
        Column("service_type", TEXT, nullable=False),
        Column("resource_name", TEXT, nullable=False),
        Column("region_id", TEXT, nullable=True),  # there is one region, so it tells no two limits apart
        Column("description", TEXT, nullable=True),
        UniqueConstraint("service_type", "resource_name"),
    )
)

limit_descriptions = Table(  # of limits that have one
    "limit_descriptions",
    level2_metadata,
    Column("owner_id", TEXT, primary_key=True),
    Column("resource", TEXT, primary_key=True),
    Column("description", TEXT, nullable=False),
)
