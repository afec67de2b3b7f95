"""The tables that each level adds to those of the lowest."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import MetaData

from fabric.store.tables import level2, level3

ADDED: Mapping[int, MetaData] = {
    level2.LEVEL: level2.level2_metadata,
    level3.LEVEL: level3.level3_metadata,
}
