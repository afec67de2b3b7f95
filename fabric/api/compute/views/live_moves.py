"""Live migrations as /servers/{id}/migrations shows them: those under way, and how far they are."""

from __future__ import annotations

from typing import Any

from fabric.api.compute.versions import v
from fabric.api.compute.views.times import micros
from fabric.api.microversion import Microversion
from fabric.control.live_moves import LiveMove
from fabric.core.moves.model import SHOWN_AS

UUID, OWNER = v(59), v(80)


def shown(value: LiveMove, version: Microversion) -> dict[str, Any]:
    move, progress = value.move, value.progress
    result: dict[str, Any] = {
        "id": move.number,
        "status": SHOWN_AS.get(move.status, move.status).value,
        "server_uuid": move.server_id,
        "source_compute": move.source_name,
        "source_node": move.source_name,
        "dest_compute": move.dest_name,
        "dest_node": move.dest_name,
        "dest_host": value.dest_address or None,
        "memory_total_bytes": progress.memory_total,
        "memory_processed_bytes": progress.memory_processed,
        "memory_remaining_bytes": progress.memory_remaining,
        "disk_total_bytes": progress.disk_total,
        "disk_processed_bytes": progress.disk_processed,
        "disk_remaining_bytes": progress.disk_remaining,
        "created_at": micros(move.created_ms),
        "updated_at": micros(move.updated_ms),
    }
    if version >= UUID:
        result["uuid"] = move.move_id
    if version >= OWNER:
        result |= {"user_id": move.user_id, "project_id": move.project_id}
    return result
