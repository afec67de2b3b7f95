"""Servers are bound to the zone that they are in, and let go. Faults in Nova's words.
Source: Nova's microversion history, 2.104."""

from __future__ import annotations

from fabric.store.apply.context import ApplyContext, Result, reject
from fabric.store.apply.host_zone import zone_of
from fabric.store.apply.lookups import need_host, need_server
from fabric.store.apply.move_rows import open_move
from fabric.store.apply.registry import handles
from fabric.store.apply.server_rows import write_server
from fabric.store.apply.servers_create import updated_values
from fabric.store.prepared import AnyRow
from proto.commands.servers import ServerPin


@handles(ServerPin, lambda command: command.server_id)
def pin_server(context: ApplyContext, command: ServerPin) -> Result:
    row = need_server(context, command.server_id)
    if command.zone != row.zone_wanted:
        _need_still(context, row)
        if command.zone is not None:
            _need_in(context, row, command.zone)
    values = {**updated_values(context, row, command), "zone_wanted": command.zone}
    return {"generation": write_server(context, row, values), "host_id": row.host_id}


def _need_still(context: ApplyContext, row: AnyRow) -> None:
    """Whoever looks for a host for it has read what it was bound to; and a move may yet be taken back, to a
    host of another zone."""
    what = f"Cannot change the pinned availability zone of instance {row.server_id} while"
    if row.task_state is not None:
        reject("busy", f"{what} it is in task_state {row.task_state}")
    if open_move(context, row) is not None:
        reject("bad_state", f"{what} its move is not over: confirm it or take it back first.")


def _need_in(context: ApplyContext, row: AnyRow, zone: str) -> None:
    if row.zone_wanted is not None:
        reject(
            "conflict",
            "Cannot change pinned availability zone directly. Unpin first by setting "
            "pinned_availability_zone to null.",
        )
    if row.host_id is None:
        reject("conflict", f"Instance {row.server_id} is on no host, so it is in no availability zone.")
    current = zone_of(context, need_host(context, row.host_id))
    if zone != current:
        reject(
            "conflict",
            f"Server can only be pinned to its current availability zone '{current}', but '{zone}' was "
            "requested.",
        )
