"""Level 3: servers go from host to host, are given of hosts' NUMA cells and PCI devices, and are shelved.
Three tables; no row of the levels before changes."""

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
    _moves(op)
    _grants(op)
    _shelved(op)


def _moves(op: Operations) -> None:
    op.create_table(
        "moves",
        sa.Column("move_id", _TEXT, nullable=False),
        sa.Column("number", _INT, nullable=False),
        sa.Column("server_id", _TEXT, nullable=False),
        sa.Column("project_id", _TEXT, nullable=False),
        sa.Column("user_id", _TEXT, nullable=False),
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("status", _TEXT, nullable=False),
        sa.Column("source_host_id", _TEXT, nullable=False),
        sa.Column("source_name", _TEXT, nullable=False),
        sa.Column("dest_host_id", _TEXT, nullable=True),
        sa.Column("dest_name", _TEXT, nullable=True),
        sa.Column("host_wanted", _TEXT, nullable=True),
        sa.Column("held_host_id", _TEXT, nullable=True),
        sa.Column("stays_off", sa.Boolean(), nullable=False),
        sa.Column("arrive_ms", _INT, nullable=False),
        sa.Column("vm_state", _TEXT, nullable=False),
        sa.Column("flavor_id", _TEXT, nullable=False),
        sa.Column("vcpus", _INT, nullable=False),
        sa.Column("memory_mb", _INT, nullable=False),
        sa.Column("root_gb", _INT, nullable=False),
        sa.Column("ephemeral_gb", _INT, nullable=False),
        sa.Column("swap_mb", _INT, nullable=False),
        sa.Column("extra_specs", _JSON, nullable=False),
        sa.Column("message", _TEXT, nullable=False),
        sa.Column("is_open", sa.Boolean(), nullable=False),
        sa.Column("created_ms", _INT, nullable=False),
        sa.Column("updated_ms", _INT, nullable=False),
        sa.PrimaryKeyConstraint("move_id", name="pk_moves"),
        sa.UniqueConstraint("number", name="uq_moves_number"),
    )
    op.create_index("ix_moves_server_id", "moves", ["server_id", "is_open"])
    op.create_index("ix_moves_held_host_id", "moves", ["held_host_id"])


def _shelved(op: Operations) -> None:
    op.create_table(
        "shelved_servers",
        sa.Column("server_id", _TEXT, nullable=False),
        sa.Column("image_id", _TEXT, nullable=False),
        sa.Column("user_id", _TEXT, nullable=False),
        sa.Column("is_saved", sa.Boolean(), nullable=False),
        sa.Column("host_wanted", _TEXT, nullable=True),
        sa.PrimaryKeyConstraint("server_id", name="pk_shelved_servers"),
    )


def _grants(op: Operations) -> None:
    op.create_table(
        "server_grants",
        sa.Column("server_id", _TEXT, nullable=False),
        sa.Column("host_id", _TEXT, nullable=False),
        sa.Column("given", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("server_id", "host_id", name="pk_server_grants"),
    )
    op.create_index("ix_server_grants_host_id", "server_grants", ["host_id", "server_id"])


REVISION = Revision("0003_moves", upgrade)
