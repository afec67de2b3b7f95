"""Providers and what they have, as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fabric.api.microversion import Microversion
from fabric.api.placement.answers import MOUNT
from fabric.api.placement.versions import v
from fabric.core.placement.inventory import Inventory
from fabric.core.placement.resources import AMOUNT_MAX
from fabric.core.providers.tree import Provider

MILLI = 1_000
_PARTS = (("inventories", 0), ("usages", 0), ("aggregates", 1), ("traits", 6), ("allocations", 11))


def path_of(provider_id: str) -> str:
    return f"/resource_providers/{provider_id}"


def provider(value: Provider, version: Microversion) -> dict[str, Any]:
    href = f"{MOUNT}{path_of(value.provider_id)}"
    result: dict[str, Any] = {
        "uuid": value.provider_id,
        "name": value.name,
        "generation": value.generation,
        "links": [
            {"rel": "self", "href": href},
            *({"rel": part, "href": f"{href}/{part}"} for part, since in _PARTS if version >= v(since)),
        ],
    }
    if version >= v(14):
        result |= {"parent_provider_uuid": value.parent_id, "root_provider_uuid": value.root_id}
    return result


def inventory(value: Inventory) -> dict[str, Any]:
    return {
        "total": value.total,
        "reserved": value.reserved,
        "min_unit": value.min_unit,
        "max_unit": value.max_unit,
        "step_size": value.step_size,
        "allocation_ratio": value.ratio_milli / MILLI,
    }


def inventory_from(plain: Mapping[str, Any]) -> Inventory:
    """Of a body that its schema let pass. Ratios are kept in thousandths."""
    return Inventory(
        total=plain["total"],
        reserved=plain.get("reserved", 0),
        min_unit=plain.get("min_unit", 1),
        max_unit=plain.get("max_unit", AMOUNT_MAX),
        step_size=plain.get("step_size", 1),
        ratio_milli=round(plain.get("allocation_ratio", 1) * MILLI),
    )


def inventories(value: Provider) -> dict[str, Any]:
    return {
        "inventories": {name: inventory(each) for name, each in value.inventories.items()},
        **generation(value),
    }


def one_inventory(value: Provider, resource_class: str) -> dict[str, Any]:
    return {**inventory(value.inventories[resource_class]), **generation(value)}


def usages(value: Provider) -> dict[str, Any]:
    """Of every class that it has or that is held of it."""
    classes = sorted({*value.inventories, *value.used})
    return {"usages": {name: value.used.get(name, 0) for name in classes}, **generation(value)}


def aggregates(value: Provider, version: Microversion) -> dict[str, Any]:
    shown = {"aggregates": sorted(value.aggregates)}
    return {**shown, **generation(value)} if version >= v(19) else shown


def traits(value: Provider) -> dict[str, Any]:
    return {"traits": sorted(value.traits), **generation(value)}


def generation(value: Provider) -> dict[str, Any]:
    return {"resource_provider_generation": value.generation}
