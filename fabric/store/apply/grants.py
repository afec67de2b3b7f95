"""What servers are given of their hosts' cells and devices. From level 3 on; before, nobody is told of any.

It is decided here, by the rows, so that schedulers that looked at different times can neither give a device
twice nor fill a cell too far.
"""

from __future__ import annotations

from sqlalchemy import bindparam, delete, insert, not_, select

from fabric.core.topology.facts import read_facts
from fabric.core.topology.give import give, shortage
from fabric.core.topology.model import Grant
from fabric.core.topology.room import room_of
from fabric.core.topology.wish import TopologyError, wants_topology, wish_of
from fabric.store.apply.context import ApplyContext, reject, single
from fabric.store.apply.room import dedicated_on
from fabric.store.claims import flavor_of
from fabric.store.prepared import AnyRow, kept, prepared
from fabric.store.tables import level2, level3
from proto.records import from_wire, to_wire

_G = level3.server_grants.c
_FACTS = kept(
    single(select(level2.host_offers.c.facts).where(level2.host_offers.c.host_id == bindparam("host_id")))
)
_OF_OTHERS = prepared(
    select(_G.given)
    .where(_G.host_id == bindparam("host_id"), _G.server_id != bindparam("server_id"), level3.counts)
    .order_by(_G.server_id)
)
_INSERT = prepared(insert(level3.server_grants))
_STALE = prepared(
    select(_G.host_id).where(_G.server_id == bindparam("server_id"), not_(level3.counts)).order_by(_G.host_id)
)
_DROP = prepared(
    delete(level3.server_grants).where(_G.server_id == bindparam("gone"), _G.host_id == bindparam("left"))
)
_GONE = prepared(delete(level3.server_grants).where(_G.server_id == bindparam("gone")))


def give_topology(context: ApplyContext, host: AnyRow, server: AnyRow) -> None:
    """What the server wants of this host beside numbers; before its row, or a move's, says that it is there.
    Rejects `no_capacity` saying what is short."""
    if not context.is_at(level3.LEVEL) or not wants_topology(server.extra_specs):
        return
    why = ""
    try:
        wish = wish_of(flavor_of(server))
    except TopologyError as error:
        wish, why = None, str(error)
    if wish is not None:
        offer = context.row(_FACTS, {"host_id": host.host_id})
        others = context.rows(_OF_OTHERS, {"host_id": host.host_id, "server_id": server.server_id})
        room = room_of(
            read_facts({} if offer is None else offer.facts),
            [from_wire(Grant, row.given) for row in others],
            cpu_ratio_milli=host.cpu_ratio_milli,
            memory_ratio_milli=host.memory_ratio_milli,
            dedicated_used=dedicated_on(context, host, except_server=server.server_id),
        )
        grant = give(room, wish)
        if grant is None:
            why = shortage(room, wish)
        elif grant:
            for stale in context.rows(_STALE, {"server_id": server.server_id}):
                context.write(_DROP, {"gone": server.server_id, "left": stale.host_id})
            given = {"server_id": server.server_id, "host_id": host.host_id, "given": to_wire(grant)}
            context.write(_INSERT, given)
    if why:
        reject("no_capacity", f"Compute host {host.name} has no room for {server.server_id}: {why}.")


def take_back(context: ApplyContext, server_id: str) -> None:
    """It is gone."""
    if context.is_at(level3.LEVEL):
        context.write(_GONE, {"gone": server_id})
