"""Resource providers that outsiders made. Hosts are providers too, without a row: what they are, they say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update

from fabric.core.providers.model import host_id_of
from fabric.store import tables as t
from fabric.store.apply.context import ApplyContext, Result, reject, single
from fabric.store.apply.inventories import checked, is_class, is_trait
from fabric.store.apply.registry import handles
from fabric.store.prepared import AnyRow, prepared
from fabric.store.tables import level2
from proto.commands.providers import (
    ClassInventory,
    ProviderCreate,
    ProviderDelete,
    ProviderSet,
    ProviderUpdate,
)

DEPTH_MAX = 32  # of a tree
_P, _A = level2.outside_providers.c, level2.outside_allocations.c
_PROVIDER = prepared(single(select(level2.outside_providers).where(_P.provider_id == bindparam("id"))))
_NAMED = prepared(single(select(_P.provider_id).where(_P.name == bindparam("name"))))
_CHILD = prepared(single(select(_P.provider_id).where(_P.parent_id == bindparam("id")).limit(1)))
_HELD = prepared(
    select(_A.resource_class).where(_A.provider_id == bindparam("id")).order_by(_A.resource_class).distinct()
)
_HOST = prepared(single(select(t.hosts.c.name).where(t.hosts.c.host_id == bindparam("id"))))
_HOST_NAMED = prepared(single(select(t.hosts.c.host_id).where(t.hosts.c.name == bindparam("name"))))
_UPDATE = prepared(update(level2.outside_providers).where(_P.provider_id == bindparam("key")))


@handles(ProviderCreate, lambda command: command.provider_id)
def create_provider(context: ApplyContext, command: ProviderCreate) -> Result:
    known = context.exists(_PROVIDER, {"id": command.provider_id})
    if known or is_host(context, command.provider_id):
        reject("conflict", f"Conflicting resource provider uuid: {command.provider_id} already exists.")
    _need_free_name(context, command.name, command.provider_id)
    _need_parent(context, command.provider_id, command.parent_id)
    context.write(
        insert(level2.outside_providers),
        {
            "provider_id": command.provider_id,
            "name": command.name,
            "parent_id": command.parent_id,
            "generation": 0,
            "inventories": {},
            "traits": [],
            "aggregates": [],
            "created_ms": context.time_ms,
            "updated_ms": context.time_ms,
        },
    )
    return {}


@handles(ProviderUpdate, lambda command: command.provider_id)
def update_provider(context: ApplyContext, command: ProviderUpdate) -> Result:
    row = need_outside(context, command.provider_id)
    _need_free_name(context, command.name, command.provider_id)
    if command.parent_id != row.parent_id:
        _need_parent(context, command.provider_id, command.parent_id)
    if (command.name, command.parent_id) != (row.name, row.parent_id):
        write_provider(context, row, {"name": command.name, "parent_id": command.parent_id})
    return {}


@handles(ProviderDelete, lambda command: command.provider_id)
def delete_provider(context: ApplyContext, command: ProviderDelete) -> Result:
    need_outside(context, command.provider_id)
    if context.exists(_CHILD, {"id": command.provider_id}):
        reject(
            "has_children",
            f"Unable to delete parent resource provider {command.provider_id}: "
            "It has child resource providers.",
        )
    if held_classes(context, command.provider_id):
        reject(
            "in_use",
            f"Unable to delete resource provider {command.provider_id}: Resource provider has allocations.",
        )
    context.write(delete(level2.outside_providers).where(_P.provider_id == command.provider_id))
    return {}


@handles(ProviderSet, lambda command: command.provider_id)
def set_provider(context: ApplyContext, command: ProviderSet) -> Result:
    row = need_outside(context, command.provider_id)
    if command.generation is not None:
        need_provider_generation(row, command.generation)
    values: dict[str, Any] = {}
    if command.inventories is not None:
        values["inventories"] = new_inventories(context, row, command.inventories)
        gone = [name for name in held_classes(context, row.provider_id) if name not in command.inventories]
        need_none_held(row, gone)
    if command.traits is not None:
        for name in sorted(set(command.traits)):
            if not is_trait(context, name):
                reject("invalid", f"No such trait {name}.")
        values["traits"] = sorted(set(command.traits))
    if command.aggregates is not None:
        values["aggregates"] = sorted(set(command.aggregates))
    return {"generation": write_provider(context, row, values)}


def new_inventories(
    context: ApplyContext, row: AnyRow, inventories: Mapping[str, ClassInventory]
) -> dict[str, dict[str, int]]:
    """Rejects `invalid`."""
    for name in sorted(inventories):
        if not is_class(context, name):
            reject(
                "invalid", f"Unknown resource class in inventory for resource provider {row.name}: {name}."
            )
    return checked(row.name, inventories)


def need_none_held(row: AnyRow, classes: list[str]) -> None:
    if classes:
        reject(
            "in_use",
            f"Inventory for '{', '.join(classes)}' on resource provider '{row.provider_id}' in use.",
        )


def need_provider_generation(row: AnyRow, generation: int) -> None:
    if row.generation != generation:
        reject(
            "stale",
            f"resource provider generation conflict: {row.provider_id} is at {row.generation}, "
            f"not {generation}.",
        )


def need_outside(context: ApplyContext, provider_id: str) -> AnyRow:
    """The row of a provider that is no host. Rejects `is_host`, `not_found`."""
    row = context.row(_PROVIDER, {"id": provider_id})
    if row is not None:
        return row
    host = context.row(_HOST, {"id": host_id_of(provider_id)})
    if host is not None:
        reject(
            "is_host",
            f"Resource provider {provider_id} is compute host {host.name}, which itself says what it has and "
            "whose servers' rows say what is used of it. Change its [compute] settings or its provider.yaml.",
        )
    reject("not_found", f"No resource provider with uuid {provider_id} found.")


def is_host(context: ApplyContext, provider_id: str) -> bool:
    return context.exists(_HOST, {"id": host_id_of(provider_id)})


def held_classes(context: ApplyContext, provider_id: str) -> list[str]:
    """Of which somebody holds something, sorted."""
    return [row.resource_class for row in context.rows(_HELD, {"id": provider_id})]


def write_provider(context: ApplyContext, row: AnyRow, values: Mapping[str, Any]) -> int:
    """With the bookkeeping of a change; gives the new generation."""
    generation = int(row.generation) + 1
    stamp = {"generation": generation, "updated_ms": context.time_ms}
    context.write(_UPDATE, {"key": row.provider_id, **values, **stamp})
    return generation


def _need_free_name(context: ApplyContext, name: str, provider_id: str) -> None:
    row = context.row(_NAMED, {"name": name})
    taken = row is not None and row.provider_id != provider_id
    if taken or context.exists(_HOST_NAMED, {"name": name}):
        reject("conflict", f"Conflicting resource provider name: {name} already exists.")


def _need_parent(context: ApplyContext, provider_id: str, parent_id: str | None) -> None:
    """It exists, and going up from it one does not come to the child."""
    at = parent_id
    for _ in range(DEPTH_MAX):
        if at is None:
            return
        if at == provider_id:
            reject("invalid", "creating loop in the provider tree is not allowed.")
        row = context.row(_PROVIDER, {"id": at})
        if row is None:
            if is_host(context, at):
                return
            reject("invalid", f"parent provider UUID '{at}' does not exist.")
        at = row.parent_id
    reject("invalid", f"A provider tree is at most {DEPTH_MAX} levels deep.")
