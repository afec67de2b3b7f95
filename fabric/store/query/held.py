"""What hosts hold for servers that are moving, beside their own: an open move's claim on its other host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, select

from fabric.core.providers.claims import added
from fabric.store.claims import HELD_SIZES, claims_at, flavor_of
from fabric.store.tables import level3

_M = level3.moves.c
_HELD = (
    select(
        *(_M.move_id, _M.server_id, _M.held_host_id, _M.project_id, _M.user_id, _M.number, _M.updated_ms),
        *HELD_SIZES,
    )
    .where(_M.held_host_id.is_not(None))
    .order_by(_M.held_host_id, _M.move_id)  # as its index has them: ended moves are not looked at
)


def held_claims(connection: Connection, level: int) -> Sequence[Row[Any]]:
    """Of all open moves; below level 3 nothing moves."""
    return connection.execute(_HELD).all() if level >= level3.LEVEL else ()


def held_by_host(connection: Connection, level: int) -> Mapping[str, Mapping[str, int]]:
    """By host and resource class."""
    claims_of = claims_at(level)
    found: dict[str, dict[str, int]] = {}
    for row in held_claims(connection, level):
        added(found.setdefault(row.held_host_id, {}), claims_of(flavor_of(row)))
    return found
