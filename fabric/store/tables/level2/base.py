"""Apart from the baseline's tables: those are made at once, these by an entry of the log."""

from __future__ import annotations

from sqlalchemy import MetaData

from fabric.store.tables.base import metadata

LEVEL = 2
level2_metadata = MetaData(naming_convention=metadata.naming_convention)
