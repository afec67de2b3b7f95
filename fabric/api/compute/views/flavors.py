"""A flavor as JSON."""

from __future__ import annotations

from typing import Any

from fabric.api.compute.links import Links
from fabric.api.compute.versions import v
from fabric.api.microversion import Microversion
from fabric.core.catalog.model import Flavor


def brief(flavor: Flavor, version: Microversion, links: Links) -> dict[str, Any]:
    result: dict[str, Any] = {
        "id": flavor.flavor_id,
        "name": flavor.name,
        "links": links.both("flavors", flavor.flavor_id),
    }
    if version >= v(55):
        result["description"] = flavor.description or None
    return result


def detail(flavor: Flavor, version: Microversion, links: Links) -> dict[str, Any]:
    """`swap` 0 is "" below 2.75, as Nova's always was; from 2.102 on without fields that mean nothing."""
    result = brief(flavor, version, links) | {
        "ram": flavor.memory_mb,
        "disk": flavor.root_gb,
        "swap": flavor.swap_mb if flavor.swap_mb or version >= v(75) else "",
        "vcpus": flavor.vcpus,
        "OS-FLV-EXT-DATA:ephemeral": flavor.ephemeral_gb,
        "os-flavor-access:is_public": flavor.is_public,
    }
    if version < v(102):
        result |= {
            "OS-FLV-DISABLED:disabled": False,
            "rxtx_factor": flavor.rxtx_factor_milli / 1_000,
        }
    if version >= v(61):
        result["extra_specs"] = dict(flavor.extra_specs)
    return result
