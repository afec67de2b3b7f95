"""What outside consumers hold of outside providers. A server's part is its row, and nobody writes it here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import bindparam, delete, func, insert, select, update

from fabric.store.apply.context import ApplyContext, Result, reject, single
from fabric.store.apply.inventories import inventory_of
from fabric.store.apply.lookups import is_server
from fabric.store.apply.providers import (
    held_classes,
    need_none_held,
    need_outside,
    need_provider_generation,
    new_inventories,
    write_provider,
)
from fabric.store.apply.registry import handles
from fabric.store.prepared import AnyRow, prepared
from fabric.store.tables import level2
from proto.commands.providers import AllocationsSet, ConsumerHolds, ProvidersReshape

_C, _A = level2.outside_consumers.c, level2.outside_allocations.c
_CONSUMER = prepared(single(select(level2.outside_consumers).where(_C.consumer_id == bindparam("id"))))
_USED = prepared(
    single(
        select(func.sum(_A.used)).where(
            _A.provider_id == bindparam("provider_id"), _A.resource_class == bindparam("resource_class")
        )
    )
)
_PROVIDERS = prepared(
    select(_A.provider_id).where(_A.consumer_id == bindparam("id")).order_by(_A.provider_id).distinct()
)
_RELEASE = prepared(delete(level2.outside_allocations).where(_A.consumer_id == bindparam("gone")))
_HOLD = prepared(insert(level2.outside_allocations))
_ADD = prepared(insert(level2.outside_consumers))
_UPDATE = prepared(update(level2.outside_consumers).where(_C.consumer_id == bindparam("key")))
_FORGET = prepared(delete(level2.outside_consumers).where(_C.consumer_id == bindparam("gone")))


@handles(AllocationsSet, lambda command: command.consumers[0].consumer_id if command.consumers else "")
def set_allocations(context: ApplyContext, command: AllocationsSet) -> Result:
    _hold(context, command.consumers)
    return {}


@handles(ProvidersReshape, lambda command: command.stocks[0].provider_id if command.stocks else "")
def reshape_providers(context: ApplyContext, command: ProvidersReshape) -> Result:
    """New inventories first, so that what is held may move into them; then nothing may be left behind."""
    for stock in command.stocks:
        row = need_outside(context, stock.provider_id)
        need_provider_generation(row, stock.generation)
        write_provider(context, row, {"inventories": new_inventories(context, row, stock.inventories)})
    _hold(context, command.consumers)
    for stock in command.stocks:
        row = need_outside(context, stock.provider_id)
        held = held_classes(context, stock.provider_id)
        need_none_held(row, [name for name in held if name not in stock.inventories])
    return {}


def _hold(context: ApplyContext, consumers: Sequence[ConsumerHolds]) -> None:
    """All give back what they have before any takes: things may change hands."""
    rows: dict[str, AnyRow | None] = {}
    touched: list[str] = []
    for each in consumers:
        row = rows[each.consumer_id] = _need_consumer(context, each)
        if row is not None:
            touched += [found.provider_id for found in context.rows(_PROVIDERS, {"id": each.consumer_id})]
            context.write(_RELEASE, {"gone": each.consumer_id})
    for each in consumers:
        _take(context, each)
        _note_consumer(context, each, rows[each.consumer_id])
        touched += [held.provider_id for held in each.held]
    _bump(context, touched)


def _need_consumer(context: ApplyContext, consumer: ConsumerHolds) -> AnyRow | None:
    if is_server(context, consumer.consumer_id):
        reject(
            "is_server",
            f"Consumer {consumer.consumer_id} is a server: what it holds follows from its flavor and host. "
            "Change or delete the server.",
        )
    row = context.row(_CONSUMER, {"id": consumer.consumer_id})
    generation = None if row is None else row.generation
    if consumer.checks_generation and consumer.generation != generation:
        reject(
            "stale",
            f"consumer generation conflict - expected {_shown(generation)} but got "
            f"{_shown(consumer.generation)}",
        )
    return row


def _take(context: ApplyContext, consumer: ConsumerHolds) -> None:
    for held in consumer.held:
        provider = need_outside(context, held.provider_id)
        plain = provider.inventories.get(held.resource_class)
        if plain is None:
            reject(
                "no_capacity",
                f"Unable to allocate inventory: Inventory for '{held.resource_class}' on resource provider "
                f"'{held.provider_id}' does not exist.",
            )
        inventory = inventory_of(plain)
        about = f"'{held.resource_class}' on resource provider '{held.provider_id}'"
        if not inventory.fits_units(held.used):
            reject(
                "no_capacity",
                f"Unable to allocate inventory: Unable to create allocation for {about}. "
                "The requested amount would violate inventory constraints.",
            )
        key = {"provider_id": held.provider_id, "resource_class": held.resource_class}
        if not inventory.takes(held.used, context.number(_USED, key)):
            reject(
                "no_capacity",
                f"Unable to allocate inventory: Unable to create allocation for {about}. "
                "The requested amount would exceed the capacity.",
            )
        stamps = {"created_ms": context.time_ms, "updated_ms": context.time_ms}
        context.write(_HOLD, {"consumer_id": consumer.consumer_id, **key, "used": held.used, **stamps})


def _note_consumer(context: ApplyContext, consumer: ConsumerHolds, row: AnyRow | None) -> None:
    """Who holds nothing is no consumer."""
    if not consumer.held:
        context.write(_FORGET, {"gone": consumer.consumer_id})
        return
    values = {
        "project_id": consumer.project_id,
        "user_id": consumer.user_id,
        "updated_ms": context.time_ms,
    }
    if row is None:
        new = {"consumer_type": consumer.consumer_type, "generation": 1, "created_ms": context.time_ms}
        context.write(_ADD, {"consumer_id": consumer.consumer_id, **values, **new})
        return
    kind = row.consumer_type if consumer.consumer_type is None else consumer.consumer_type
    changed = {**values, "consumer_type": kind, "generation": int(row.generation) + 1}
    context.write(_UPDATE, {"key": consumer.consumer_id, **changed})


def _bump(context: ApplyContext, provider_ids: Iterable[str]) -> None:
    """What is used of a provider changed: whoever read it before must look again."""
    for provider_id in sorted(set(provider_ids)):
        write_provider(context, need_outside(context, provider_id), {})


def _shown(generation: int | None) -> str:
    return "null" if generation is None else str(generation)
