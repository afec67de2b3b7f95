"""Hints for the scheduler that servers were asked for with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from fabric.store.query.among import among, rows_among
from fabric.store.tables import level2
from proto.ids import ServerId

_HINTS = select(level2.server_hints).where(among(level2.server_hints.c.server_id))


def hints_among(
    connection: Connection, server_ids: Sequence[ServerId]
) -> dict[ServerId, dict[str, tuple[str, ...]]]:
    """Of those that have any, without `group`; for rows that are at level 2. Raises SQLAlchemyError."""
    return {row.server_id: _listed(row.hints) for row in rows_among(connection, _HINTS, server_ids)}


def _listed(hints: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    return {
        name: tuple(map(str, value)) if isinstance(value, list) else (str(value),)
        for name, value in hints.items()
    }
