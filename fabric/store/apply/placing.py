"""What must hold when a scheduler has chosen a host: for a server that has none, and for one that moves."""

from __future__ import annotations

from sqlalchemy import bindparam, select

from fabric.store import tables as t
from fabric.store.apply.context import ApplyContext, reject, single
from fabric.store.apply.grants import give_topology
from fabric.store.apply.room import need_room
from fabric.store.apply.server_groups import need_policy
from fabric.store.prepared import AnyRow, kept

SCHEDULER = "scheduler"

_GRANT = kept(single(select(t.role_grants.c.fence).where(t.role_grants.c.role == bindparam("role"))))


def need_fence(context: ApplyContext, fence: int) -> None:
    grant = context.row(_GRANT, {"role": SCHEDULER})
    if grant is not None and fence < grant.fence:
        reject("fenced", f"A newer scheduler holds the role (fence {grant.fence}, not {fence}).")


def take_in(context: ApplyContext, host: AnyRow, server: AnyRow) -> None:
    """The host takes servers, has room for this one and is where its group allows it; it is given cells and
    devices, before its row, or a move's, says that it is there. Rejects `host_disabled`, `no_capacity`,
    `policy_violated`."""
    if not host.enabled or host.forced_down:
        state = "forced down" if host.forced_down else "disabled"
        reject("host_disabled", f"Compute host {host.name} is {state}.")
    need_room(context, host, server)
    give_topology(context, host, server)
    need_policy(context, server.server_id, host)
