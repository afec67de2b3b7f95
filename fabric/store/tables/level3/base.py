"""Apart from the tables of the levels before: these are made by an entry of the log."""

from __future__ import annotations

from sqlalchemy import MetaData

from fabric.store.tables.base import metadata

LEVEL = 3
level3_metadata = MetaData(naming_convention=metadata.naming_convention)
