"""Which APIs there are and where: the catalog every token carries. Ids are the same on every node."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

INTERFACES = ("public", "internal", "admin")  # some tools ask for internal or admin
_NAMESPACE = uuid.UUID("5f0e7c1e-8d0c-5b55-9c2a-6b1f3a7d9e10")


@dataclass(frozen=True, slots=True)
class CatalogEndpoint:
    endpoint_id: str
    service_id: str
    interface: str
    region: str
    url: str


@dataclass(frozen=True, slots=True)
class CatalogService:
    service_id: str
    type: str
    name: str
    description: str
    endpoints: tuple[CatalogEndpoint, ...]


_SERVICES = (  # type, name, description, path. Why each path ends where it does: CLIENTS.md, "Token"
    ("identity", "keystone", "Identity", "/identity"),
    ("compute", "nova", "Compute", "/compute/v2.1"),
    ("image", "glance", "Image", "/image"),
    ("network", "neutron", "Network", "/network"),
    ("placement", "placement", "Placement", "/placement"),
)


def service_catalog(base_url: str, region: str) -> tuple[CatalogService, ...]:
    """`base_url`: what the client came by, no slash at the end."""
    return tuple(
        _service(kind, name, description, f"{base_url}{path}", region)
        for kind, name, description, path in _SERVICES
    )


def _service(kind: str, name: str, description: str, url: str, region: str) -> CatalogService:
    service_id = _stable_id(f"service/{kind}")
    endpoints = tuple(
        CatalogEndpoint(
            endpoint_id=_stable_id(f"endpoint/{kind}/{interface}/{region}"),
            service_id=service_id,
            interface=interface,
            region=region,
            url=url,
        )
        for interface in INTERFACES
    )
    return CatalogService(service_id, kind, name, description, endpoints)


def _stable_id(name: str) -> str:
    return uuid.uuid5(_NAMESPACE, name).hex
