"""Tokens and what they carry."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fabric.api.identity.views.times import iso_micros
from fabric.control.service_catalog import CatalogEndpoint, CatalogService
from fabric.control.tokens import ValidToken
from fabric.core.identity.model import FabricIdentity, Role


def token_view(
    token: ValidToken,
    fabric: FabricIdentity,
    roles: Iterable[Role],
    services: Iterable[CatalogService] | None,
) -> dict[str, Any]:
    """`services` None: without a catalog. An unscoped token has no project, roles or catalog."""
    domain = {"id": fabric.domain_id, "name": fabric.domain_name}
    view: dict[str, Any] = {
        "methods": list(token.claims.methods),
        "user": {
            "domain": domain,
            "id": token.user.user_id,
            "name": token.user.name,
            "password_expires_at": None,
        },
        "audit_ids": list(token.claims.audit_ids),
        "expires_at": iso_micros(token.claims.expires_ms),
        "issued_at": iso_micros(token.claims.issued_ms),
    }
    if token.project is not None:
        view["project"] = {
            "domain": domain,
            "id": token.project.project_id,
            "name": token.project.name,
        }
        view["is_domain"] = False
        view["roles"] = [{"id": role.role_id, "name": role.name} for role in roles]
        if services is not None:
            view["catalog"] = catalog_view(services)
    return {"token": view}


def catalog_view(services: Iterable[CatalogService]) -> list[dict[str, Any]]:
    return [
        {
            "id": service.service_id,
            "type": service.type,
            "name": service.name,
            "endpoints": [_endpoint(endpoint) for endpoint in service.endpoints],
        }
        for service in services
    ]


def _endpoint(endpoint: CatalogEndpoint) -> dict[str, Any]:
    return {
        "id": endpoint.endpoint_id,
        "interface": endpoint.interface,
        "region": endpoint.region,
        "region_id": endpoint.region,
        "url": endpoint.url,
    }
