"""Resource classes and traits that somebody made."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Table, delete, select, update

from fabric.core.placement.resources import STANDARD_CLASSES
from fabric.core.providers.standard_traits import STANDARD_TRAITS
from fabric.store.apply.context import ApplyContext, Result, reject
from fabric.store.apply.inventories import add_class, add_trait, is_class, is_trait
from fabric.store.apply.registry import handles
from fabric.store.tables import level2
from proto.commands.providers import (
    ResourceClassCreate,
    ResourceClassDelete,
    ResourceClassRename,
    TraitCreate,
    TraitDelete,
)

_HOLDERS: tuple[tuple[Table, Any], ...] = (  # whose rows name classes and traits
    (level2.host_offers, level2.host_offers.c.host_id),
    (level2.outside_providers, level2.outside_providers.c.provider_id),
)


@handles(ResourceClassCreate, lambda command: command.name)
def create_resource_class(context: ApplyContext, command: ResourceClassCreate) -> Result:
    if is_class(context, command.name):
        reject("conflict", f"Conflicting resource class already exists: {command.name}")
    add_class(context, command.name)
    return {}


@handles(ResourceClassRename, lambda command: command.name)
def rename_resource_class(context: ApplyContext, command: ResourceClassRename) -> Result:
    _need_class(context, command.name, "update")
    if is_class(context, command.to):
        reject("conflict", f"Resource class already exists: {command.to}")
    _need_unused(context, "inventories", command.name, "resource class")
    classes = level2.resource_classes
    context.write(update(classes).where(classes.c.name == command.name).values(name=command.to))
    return {}


@handles(ResourceClassDelete, lambda command: command.name)
def delete_resource_class(context: ApplyContext, command: ResourceClassDelete) -> Result:
    _need_class(context, command.name, "delete")
    _need_unused(context, "inventories", command.name, "resource class")
    classes = level2.resource_classes
    context.write(delete(classes).where(classes.c.name == command.name))
    return {}


@handles(TraitCreate, lambda command: command.name)
def create_trait(context: ApplyContext, command: TraitCreate) -> Result:
    if is_trait(context, command.name):
        return {"created": False}
    add_trait(context, command.name)
    return {"created": True}


@handles(TraitDelete, lambda command: command.name)
def delete_trait(context: ApplyContext, command: TraitDelete) -> Result:
    if command.name in STANDARD_TRAITS:
        reject("invalid", f"Cannot delete standard trait {command.name}.")
    if not is_trait(context, command.name):
        reject("not_found", f"No such trait(s): {command.name}.")
    _need_unused(context, "traits", command.name, "trait")
    context.write(delete(level2.traits).where(level2.traits.c.name == command.name))
    return {}


def _need_class(context: ApplyContext, name: str, verb: str) -> None:
    if name in STANDARD_CLASSES:
        reject("invalid", f"Cannot {verb} standard resource class {name}.")
    if not is_class(context, name):
        reject("not_found", f"No such resource class {name}.")


def _need_unused(context: ApplyContext, column: str, name: str, what: str) -> None:
    """Reads all that name any: classes and traits are made and removed by hand, and seldom."""
    for table, key in _HOLDERS:
        if any(name in row[0] for row in context.rows(select(table.c[column]).order_by(key))):
            reject("in_use", f"The {what} {name} is in use by a resource provider.")
