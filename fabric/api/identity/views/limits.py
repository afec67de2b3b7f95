"""Registered limits and limits as JSON."""

from __future__ import annotations

from typing import Any

from fabric.control.unified_limits import service_id_of
from fabric.core.quotas.unified import Limit, RegisteredLimit


def registered_limit_view(limit: RegisteredLimit, base: str) -> dict[str, Any]:
    return {
        "id": limit.limit_id,
        "service_id": service_id_of(limit.service_type),
        "region_id": limit.region_id,
        "resource_name": limit.resource_name,
        "default_limit": limit.default_limit,
        "description": limit.description,
        "links": {"self": f"{base}/identity/v3/registered_limits/{limit.limit_id}"},
    }


def limit_view(limit: Limit, base: str) -> dict[str, Any]:
    return {
        "id": limit.limit_id,
        "project_id": limit.project_id,
        "domain_id": limit.domain_id,
        "service_id": service_id_of(limit.service_type),
        "region_id": limit.region_id,
        "resource_name": limit.resource_name,
        "resource_limit": limit.resource_limit,
        "description": limit.description,
        "links": {"self": f"{base}/identity/v3/limits/{limit.limit_id}"},
    }
