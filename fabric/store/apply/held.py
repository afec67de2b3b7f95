"""What hosts hold for servers that are moving, beside their own: an open move's claim on its other host."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select

from fabric.core.providers.claims import added
from fabric.store.apply.context import ApplyContext
from fabric.store.claims import HELD_SIZES, claims_at, flavor_of
from fabric.store.prepared import AnyRow, kept
from fabric.store.tables import level3

_M = level3.moves.c
_HELD = kept(  # of all hosts: there are as many as moves under way
    select(_M.move_id, _M.server_id, _M.held_host_id, *HELD_SIZES)
    .where(_M.held_host_id.is_not(None))
    .order_by(_M.held_host_id, _M.move_id)  # as its index has them: ended moves are not looked at
)


def held(context: ApplyContext) -> Sequence[AnyRow]:
    """The open moves that have another end. Below level 3 nothing moves."""
    return context.rows(_HELD) if context.is_at(level3.LEVEL) else ()


def held_on(context: ApplyContext, host_id: str) -> Sequence[AnyRow]:
    """Those whose other end is that host."""
    return [row for row in held(context) if row.held_host_id == host_id]


def with_held(
    context: ApplyContext, host_id: str, used: dict[str, int], *, except_server: str
) -> dict[str, int]:
    """`used`, with what is held there for servers other than that one."""
    claims_of = claims_at(context.level)
    for row in held_on(context, host_id):
        if row.server_id != except_server:
            added(used, claims_of(flavor_of(row)))
    return used
