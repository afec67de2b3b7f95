"""Servers that are being shelved, are shelved, or are being unshelved; no others."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Table

from fabric.store.tables.base import TEXT
from fabric.store.tables.level3.base import level3_metadata

shelved_servers = Table(
    "shelved_servers",
    level3_metadata,
    Column("server_id", TEXT, primary_key=True),
    Column("image_id", TEXT, nullable=False),  # of the server's disk; there once `is_saved`
    Column("user_id", TEXT, nullable=False),  # who asked for it
    Column("is_saved", Boolean, nullable=False),
    Column("host_wanted", TEXT, nullable=True),  # to be unshelved on: a host's name
)
