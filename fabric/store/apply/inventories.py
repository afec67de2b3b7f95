"""Inventories and names of resource classes and traits, on their way into rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from sqlalchemy import bindparam, insert, select

from fabric.core.placement.inventory import Inventory
from fabric.core.placement.resources import AMOUNT_MAX, STANDARD_CLASSES
from fabric.core.providers.names import is_custom
from fabric.core.providers.standard_traits import STANDARD_TRAITS
from fabric.store.apply.context import ApplyContext, reject, single
from fabric.store.prepared import prepared
from fabric.store.tables import level2
from proto.commands.providers import ClassInventory

_CLASS = prepared(
    single(select(level2.resource_classes.c.name).where(level2.resource_classes.c.name == bindparam("name")))
)
_TRAIT = prepared(single(select(level2.traits.c.name).where(level2.traits.c.name == bindparam("name"))))
_ADD_CLASS = prepared(insert(level2.resource_classes))
_ADD_TRAIT = prepared(insert(level2.traits))

Plain = dict[str, dict[str, int]]


def is_class(context: ApplyContext, name: str) -> bool:
    return name in STANDARD_CLASSES or context.exists(_CLASS, {"name": name})


def is_trait(context: ApplyContext, name: str) -> bool:
    return name in STANDARD_TRAITS or context.exists(_TRAIT, {"name": name})


def add_class(context: ApplyContext, name: str) -> None:
    context.write(_ADD_CLASS, {"name": name, "created_ms": context.time_ms})


def add_trait(context: ApplyContext, name: str) -> None:
    context.write(_ADD_TRAIT, {"name": name, "created_ms": context.time_ms})


def make_names(context: ApplyContext, classes: Sequence[str], traits: Sequence[str]) -> None:
    """Custom ones that nobody made yet come to be, as they do when Nova reads a host's file. Rejects
    `invalid` for names that are neither standard nor custom."""
    for name in sorted(classes):
        if not is_class(context, name):
            _need_custom(name, "resource class")
            add_class(context, name)
    for name in sorted(traits):
        if not is_trait(context, name):
            _need_custom(name, "trait")
            add_trait(context, name)


def checked(provider: str, inventories: Mapping[str, ClassInventory]) -> Plain:
    """As rows have them. Rejects `invalid` in Placement's words."""
    for name, each in sorted(inventories.items()):
        whole = 1 <= each.total <= AMOUNT_MAX and 0 <= each.reserved <= each.total
        units = 1 <= each.min_unit <= each.max_unit <= AMOUNT_MAX and 1 <= each.step_size <= AMOUNT_MAX
        if not (whole and units and each.ratio_milli >= 1):
            reject("invalid", f"Invalid inventory for '{name}' on resource provider '{provider}'.")
    return {name: asdict(inventories[name]) for name in sorted(inventories)}


def inventory_of(plain: Mapping[str, int]) -> Inventory:
    return Inventory(**plain)


def _need_custom(name: str, what: str) -> None:
    if not is_custom(name):
        reject("invalid", f"There is no standard {what} {name}; names of one's own begin with CUSTOM_.")
