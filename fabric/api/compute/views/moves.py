"""Moves as /os-migrations shows them."""

from __future__ import annotations

from typing import Any

from fabric.api.compute.links import Links
from fabric.api.compute.versions import v
from fabric.api.compute.views.times import micros
from fabric.api.microversion import Microversion
from fabric.control.moves import ListedMove
from fabric.core.moves.model import SHOWN_AS, MoveKind

MIGRATION_TYPE, UUID_AND_PAGES, OWNER = v(23), v(59), v(80)


def shown(value: ListedMove, version: Microversion, links: Links) -> dict[str, Any]:
    """Nova tells flavors by numbers of its database. We have none: a flavor whose id is a number is told by
    that, others not at all, for clients want a number there. A live one that is under way has links to where
    more is told of it."""
    move = value.move
    is_number = move.flavor_id.isascii() and move.flavor_id.isdigit() and len(move.flavor_id) <= 18
    flavor = int(move.flavor_id) if is_number else None
    result: dict[str, Any] = {
        "id": move.number,
        "status": SHOWN_AS.get(move.status, move.status).value,
        "instance_uuid": move.server_id,
        "source_compute": move.source_name,
        "source_node": move.source_name,
        "dest_compute": move.dest_name,
        "dest_node": move.dest_name,
        "dest_host": value.dest_address or None,
        "old_instance_type_id": flavor,
        "new_instance_type_id": flavor,
        "created_at": micros(move.created_ms),
        "updated_at": micros(move.updated_ms),
    }
    if version >= MIGRATION_TYPE:
        result["migration_type"] = move.kind.value
        if move.kind is MoveKind.LIVE and move.is_open:
            result["links"] = links.both("servers", f"{move.server_id}/migrations/{move.number}")
    if version >= UUID_AND_PAGES:
        result["uuid"] = move.move_id
    if version >= OWNER:
        result |= {"user_id": move.user_id, "project_id": move.project_id}
    return result
