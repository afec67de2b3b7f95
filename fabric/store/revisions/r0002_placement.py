"""Level 2: where servers may go. Aggregates, server groups and hints, limits of every kind, and what
Placement keeps beside what hosts and servers say. Tables, and an index over servers: no row of
level 1 changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from fabric.store.revision import Revision

if TYPE_CHECKING:
    from alembic.operations import Operations

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_JSON = sa.Text()
_INT = sa.BigInteger()


def upgrade(op: Operations) -> None:
    _aggregates(op)
    _groups(op)
    _limits(op)
    _providers(op)
    _claims(op)


def _aggregates(op: Operations) -> None:
    op.create_table(
        "aggregate_hosts",
        sa.Column("aggregate_id", _INT, nullable=False, autoincrement=False),
        sa.Column("host_id", _TEXT, nullable=False),
        sa.PrimaryKeyConstraint("aggregate_id", "host_id", name="pk_aggregate_hosts"),
    )
    op.create_index("ix_aggregate_hosts_host_id", "aggregate_hosts", ["host_id"])
    op.create_table(
        "aggregates",
        sa.Column("aggregate_id", _INT, nullable=False, autoincrement=False),
        sa.Column("uuid", _TEXT, nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("availability_zone", _TEXT, nullable=True),
        sa.Column("metadata", _JSON, nullable=False),
        sa.Column("created_ms", _INT, nullable=False),
        sa.Column("updated_ms", _INT, nullable=True),
        sa.PrimaryKeyConstraint("aggregate_id", name="pk_aggregates"),
        sa.UniqueConstraint("name", name="uq_aggregates_name"),
        sa.UniqueConstraint("uuid", name="uq_aggregates_uuid"),
    )


def _groups(op: Operations) -> None:
    op.create_table(
        "server_group_members",
        sa.Column("server_id", _TEXT, nullable=False),
        sa.Column("group_id", _TEXT, nullable=False),
        sa.PrimaryKeyConstraint("server_id", name="pk_server_group_members"),
    )
    op.create_index("ix_server_group_members_group_id", "server_group_members", ["group_id"])
    op.create_table(
        "server_groups",
        sa.Column("group_id", _TEXT, nullable=False),
        sa.Column("project_id", _TEXT, nullable=False),
        sa.Column("user_id", _TEXT, nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("policy", _TEXT, nullable=False),
        sa.Column("max_server_per_host", _INT, nullable=True),
        sa.Column("created_ms", _INT, nullable=False),
        sa.PrimaryKeyConstraint("group_id", name="pk_server_groups"),
    )
    op.create_index("ix_server_groups_project_id", "server_groups", ["project_id"])
    op.create_table(
        "server_hints",
        sa.Column("server_id", _TEXT, nullable=False),
        sa.Column("hints", _JSON, nullable=False),
        sa.PrimaryKeyConstraint("server_id", name="pk_server_hints"),
    )
    op.create_table(
        "failed_builds",
        sa.Column("server_id", _TEXT, nullable=False),
        sa.Column("host_id", _TEXT, nullable=False),
        sa.Column("message", _TEXT, nullable=False),
        sa.Column("failed_ms", _INT, nullable=False),
        sa.PrimaryKeyConstraint("server_id", "host_id", name="pk_failed_builds"),
    )


def _limits(op: Operations) -> None:
    op.create_table(
        "limit_descriptions",
        sa.Column("owner_id", _TEXT, nullable=False),
        sa.Column("resource", _TEXT, nullable=False),
        sa.Column("description", _TEXT, nullable=False),
        sa.PrimaryKeyConstraint("owner_id", "resource", name="pk_limit_descriptions"),
    )
    op.create_table(
        "quota_class_limits",
        sa.Column("class_name", _TEXT, nullable=False),
        sa.Column("resource", _TEXT, nullable=False),
        sa.Column("hard_limit", _INT, nullable=False),
        sa.PrimaryKeyConstraint("class_name", "resource", name="pk_quota_class_limits"),
    )
    op.create_table(
        "registered_limits",
        sa.Column("limit_id", _TEXT, nullable=False),
        sa.Column("service_type", _TEXT, nullable=False),
        sa.Column("resource_name", _TEXT, nullable=False),
        sa.Column("region_id", _TEXT, nullable=True),
        sa.Column("description", _TEXT, nullable=True),
        sa.PrimaryKeyConstraint("limit_id", name="pk_registered_limits"),
        sa.UniqueConstraint(
            "service_type", "resource_name", name="uq_registered_limits_service_type_resource_name"
        ),
    )
    op.create_table(
        "user_quota_limits",
        sa.Column("project_id", _TEXT, nullable=False),
        sa.Column("user_id", _TEXT, nullable=False),
        sa.Column("resource", _TEXT, nullable=False),
        sa.Column("hard_limit", _INT, nullable=False),
        sa.PrimaryKeyConstraint("project_id", "user_id", "resource", name="pk_user_quota_limits"),
    )


def _providers(op: Operations) -> None:
    op.create_table(
        "host_offers",
        sa.Column("host_id", _TEXT, nullable=False),
        sa.Column("inventories", _JSON, nullable=False),
        sa.Column("traits", _JSON, nullable=False),
        sa.Column("facts", _JSON, nullable=False),
        sa.Column("updated_ms", _INT, nullable=False),
        sa.PrimaryKeyConstraint("host_id", name="pk_host_offers"),
    )
    op.create_table(
        "outside_allocations",
        sa.Column("consumer_id", _TEXT, nullable=False),
        sa.Column("provider_id", _TEXT, nullable=False),
        sa.Column("resource_class", _TEXT, nullable=False),
        sa.Column("used", _INT, nullable=False),
        sa.Column("created_ms", _INT, nullable=False),
        sa.Column("updated_ms", _INT, nullable=False),
        sa.PrimaryKeyConstraint(
            "consumer_id", "provider_id", "resource_class", name="pk_outside_allocations"
        ),
    )
    op.create_index("ix_outside_allocations_provider_id", "outside_allocations", ["provider_id"])
    op.create_table(
        "outside_consumers",
        sa.Column("consumer_id", _TEXT, nullable=False),
        sa.Column("project_id", _TEXT, nullable=False),
        sa.Column("user_id", _TEXT, nullable=False),
        sa.Column("consumer_type", _TEXT, nullable=True),
        sa.Column("generation", _INT, nullable=False),
        sa.Column("created_ms", _INT, nullable=False),
        sa.Column("updated_ms", _INT, nullable=False),
        sa.PrimaryKeyConstraint("consumer_id", name="pk_outside_consumers"),
    )
    op.create_index("ix_outside_consumers_project_id", "outside_consumers", ["project_id"])
    op.create_table(
        "outside_providers",
        sa.Column("provider_id", _TEXT, nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("parent_id", _TEXT, nullable=True),
        sa.Column("generation", _INT, nullable=False),
        sa.Column("inventories", _JSON, nullable=False),
        sa.Column("traits", _JSON, nullable=False),
        sa.Column("aggregates", _JSON, nullable=False),
        sa.Column("created_ms", _INT, nullable=False),
        sa.Column("updated_ms", _INT, nullable=False),
        sa.PrimaryKeyConstraint("provider_id", name="pk_outside_providers"),
        sa.UniqueConstraint("name", name="uq_outside_providers_name"),
    )
    op.create_index("ix_outside_providers_parent_id", "outside_providers", ["parent_id"])
    op.create_table(
        "resource_classes",
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("created_ms", _INT, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_resource_classes"),
    )
    op.create_table(
        "traits",
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("created_ms", _INT, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_traits"),
    )


def _claims(op: Operations) -> None:
    """Finds the servers whose extra specs may claim something else than their numbers, without reading any
    other's row."""
    otherwise = sa.text("extra_specs LIKE '%resources%' OR extra_specs LIKE '%hw:cpu_policy%'")
    columns = ["host_id", "server_id"]
    op.create_index(
        "ix_servers_otherwise", "servers", columns, sqlite_where=otherwise, postgresql_where=otherwise
    )


REVISION = Revision("0002_placement", upgrade)
