"""What hosts offer beyond their rows."""

from __future__ import annotations

from sqlalchemy import bindparam, delete, insert, select, update

from fabric.core.providers.claims import OWN_CLASSES
from fabric.core.providers.model import provider_id_of
from fabric.store.apply.context import ApplyContext, Result, reject, single
from fabric.store.apply.inventories import checked, make_names
from fabric.store.apply.lookups import need_host
from fabric.store.apply.registry import handles
from fabric.store.prepared import kept
from fabric.store.tables import level2
from proto.commands.providers import HostOffers
from proto.ids import NodeId

_OFFERS, _OUTSIDE = level2.host_offers, level2.outside_providers
_OFFER = kept(single(select(_OFFERS).where(_OFFERS.c.host_id == bindparam("host_id"))))


@handles(HostOffers, lambda command: command.host_id)
def offer_of_host(context: ApplyContext, command: HostOffers) -> Result:
    host = need_host(context, command.host_id)
    for name in OWN_CLASSES:
        if name in command.inventories:
            reject("invalid", f"{name} of a host is what its registration says.")
    traits = sorted(set(command.traits))
    offered = {
        "inventories": checked(host.name, command.inventories),
        "traits": traits,
        "facts": dict(command.facts),
    }
    make_names(context, sorted(command.inventories), traits)
    row = context.row(_OFFER, {"host_id": command.host_id})
    if row is None:
        context.write(insert(_OFFERS), {"host_id": command.host_id, **offered, "updated_ms": context.time_ms})
    elif any(getattr(row, name) != value for name, value in offered.items()):
        context.write(
            update(_OFFERS)
            .where(_OFFERS.c.host_id == command.host_id)
            .values(**offered, updated_ms=context.time_ms)
        )
    return {}


def forget_host(context: ApplyContext, host_id: NodeId) -> None:
    """With the host goes what it offered; providers that stood below it stand alone."""
    if not context.is_at(level2.LEVEL):
        return
    context.write(delete(_OFFERS).where(_OFFERS.c.host_id == host_id))
    below = _OUTSIDE.c.parent_id == provider_id_of(host_id)
    context.write(
        update(_OUTSIDE)
        .where(below)
        .values(parent_id=None, generation=_OUTSIDE.c.generation + 1, updated_ms=context.time_ms)
    )
