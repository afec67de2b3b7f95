"""Services, endpoints and regions as resources of their own."""

from __future__ import annotations

from typing import Any

from fabric.control.service_catalog import CatalogEndpoint, CatalogService


def service_view(service: CatalogService, base: str) -> dict[str, Any]:
    return {
        "id": service.service_id,
        "type": service.type,
        "name": service.name,
        "description": service.description,
        "enabled": True,
        "links": {"self": f"{base}/identity/v3/services/{service.service_id}"},
    }


def endpoint_view(endpoint: CatalogEndpoint, base: str) -> dict[str, Any]:
    return {
        "id": endpoint.endpoint_id,
        "service_id": endpoint.service_id,
        "interface": endpoint.interface,
        "region": endpoint.region,
        "region_id": endpoint.region,
        "url": endpoint.url,
        "enabled": True,
        "links": {"self": f"{base}/identity/v3/endpoints/{endpoint.endpoint_id}"},
    }


def region_view(region: str, base: str) -> dict[str, Any]:
    return {
        "id": region,
        "description": "",
        "parent_region_id": None,
        "links": {"self": f"{base}/identity/v3/regions/{region}"},
    }
