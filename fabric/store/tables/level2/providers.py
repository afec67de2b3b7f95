"""What hosts offer beyond processors, memory and disk, and what outside consumers keep in Placement.

Claims of servers are not here: they are what the servers' rows say.
"""

from __future__ import annotations

from sqlalchemy import Column, Table, UniqueConstraint

from fabric.store.tables.base import INT, TEXT, JsonText
from fabric.store.tables.level2.base import level2_metadata

host_offers = Table(  # as the host itself says, at its start and when that changes
    "host_offers",
    level2_metadata,
    Column("host_id", TEXT, primary_key=True),
    Column(
        "inventories", JsonText, nullable=False
    ),  # class -> total reserved min_unit max_unit step_size ratio_milli
    Column("traits", JsonText, nullable=False),  # sorted names
    Column(
        "facts", JsonText, nullable=False
    ),  # what filters ask beside: NUMA cells, PCI devices, images' needs
    Column("updated_ms", INT, nullable=False),
)

resource_classes = Table(  # CUSTOM_ ones that somebody made; the standard ones are code
    "resource_classes",
    level2_metadata,
    Column("name", TEXT, primary_key=True),
    Column("created_ms", INT, nullable=False),
)

traits = Table(
    "traits",
    level2_metadata,
    Column("name", TEXT, primary_key=True),
    Column("created_ms", INT, nullable=False),
)

outside_providers = Table(  # made through Placement; hosts are providers without a row here
    "outside_providers",
    level2_metadata,
    Column("provider_id", TEXT, primary_key=True),
    Column("name", TEXT, nullable=False),
    Column("parent_id", TEXT, nullable=True, index=True),
    Column("generation", INT, nullable=False),
    Column("inventories", JsonText, nullable=False),
    Column("traits", JsonText, nullable=False),
    Column("aggregates", JsonText, nullable=False),
    Column("created_ms", INT, nullable=False),
    Column("updated_ms", INT, nullable=False),
    UniqueConstraint("name"),
)

outside_consumers = Table(
    "outside_consumers",
    level2_metadata,
    Column("consumer_id", TEXT, primary_key=True),
    Column("project_id", TEXT, nullable=False, index=True),
    Column("user_id", TEXT, nullable=False),
    Column("consumer_type", TEXT, nullable=True),
    Column("generation", INT, nullable=False),
    Column("created_ms", INT, nullable=False),
    Column("updated_ms", INT, nullable=False),
)

outside_allocations = Table(
    "outside_allocations",
    level2_metadata,
    Column("consumer_id", TEXT, primary_key=True),
    Column("provider_id", TEXT, primary_key=True, index=True),
    Column("resource_class", TEXT, primary_key=True),
    Column("used", INT, nullable=False),
    Column("created_ms", INT, nullable=False),
    Column("updated_ms", INT, nullable=False),
)
