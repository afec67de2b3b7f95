"""Placement below its mount: one table. The version document is in `fabric/api/versions.py`."""

from __future__ import annotations

from aiohttp import web

from fabric.api.faults import PLACEMENT
from fabric.api.placement.handlers import allocations, names, providers
from fabric.api.placement.schemas import bodies, queries
from fabric.api.placement.versions import v
from fabric.api.routing import Route, build_app

_PROVIDERS = "/resource_providers"
_PROVIDER = f"{_PROVIDERS}/{{provider_id}}"
_INVENTORIES = f"{_PROVIDER}/inventories"
_INVENTORY = f"{_INVENTORIES}/{{resource_class}}"
_CLASSES, _CLASS = "/resource_classes", "/resource_classes/{name}"
_TRAIT = "/traits/{name}"
_CONSUMER = "/allocations/{consumer_id}"

ROUTES: tuple[Route, ...] = (
    Route("GET", _PROVIDERS, providers.index, query=queries.LIST_PROVIDERS),
    Route("POST", _PROVIDERS, providers.create, body=bodies.CREATE_PROVIDER),
    Route("GET", _PROVIDER, providers.show),
    Route("PUT", _PROVIDER, providers.update, body=bodies.UPDATE_PROVIDER),
    Route("DELETE", _PROVIDER, providers.delete),
    Route("GET", _INVENTORIES, providers.inventories),
    Route("PUT", _INVENTORIES, providers.set_inventories, body=bodies.PUT_INVENTORIES),
    Route("POST", _INVENTORIES, providers.add_inventory, body=bodies.POST_INVENTORY),
    Route("DELETE", _INVENTORIES, providers.clear_inventories, since=v(5)),
    Route("GET", _INVENTORY, providers.inventory),
    Route("PUT", _INVENTORY, providers.set_inventory, body=bodies.PUT_INVENTORY),
    Route("DELETE", _INVENTORY, providers.delete_inventory),
    Route("GET", f"{_PROVIDER}/usages", providers.usages),
    Route("GET", f"{_PROVIDER}/aggregates", providers.aggregates, since=v(1)),
    Route("PUT", f"{_PROVIDER}/aggregates", providers.set_aggregates, since=v(1), body=bodies.PUT_AGGREGATES),
    Route("GET", f"{_PROVIDER}/traits", providers.traits, since=v(6)),
    Route("PUT", f"{_PROVIDER}/traits", providers.set_traits, since=v(6), body=bodies.PUT_TRAITS),
    Route("DELETE", f"{_PROVIDER}/traits", providers.clear_traits, since=v(6)),
    Route("GET", f"{_PROVIDER}/allocations", providers.holders),
    Route("GET", _CLASSES, names.classes, since=v(2)),
    Route("POST", _CLASSES, names.create_class, since=v(2), body=bodies.CLASS),
    Route("GET", _CLASS, names.show_class, since=v(2)),
    Route("PUT", _CLASS, names.rename_class, since=v(2), until=v(6), body=bodies.CLASS),
    Route("PUT", _CLASS, names.ensure_class, since=v(7)),
    Route("DELETE", _CLASS, names.delete_class, since=v(2)),
    Route("GET", "/traits", names.traits, since=v(6), query=queries.LIST_TRAITS),
    Route("GET", _TRAIT, names.show_trait, since=v(6)),
    Route("PUT", _TRAIT, names.ensure_trait, since=v(6)),
    Route("DELETE", _TRAIT, names.delete_trait, since=v(6)),
    Route("GET", _CONSUMER, allocations.show),
    Route("PUT", _CONSUMER, allocations.update, body=bodies.PUT_ALLOCATIONS),
    Route("DELETE", _CONSUMER, allocations.delete),
    Route("POST", "/allocations", allocations.update_many, since=v(13), body=bodies.POST_ALLOCATIONS),
    Route(
        "GET",
        "/allocation_candidates",
        allocations.list_candidates,
        since=v(10),
        query=queries.CANDIDATES,
    ),
    Route("GET", "/usages", allocations.usages, since=v(9), query=queries.USAGES),
    Route("POST", "/reshaper", allocations.reshape, since=v(30), body=bodies.RESHAPE),
)


def app() -> web.Application:
    return build_app("placement", ROUTES, PLACEMENT)
