"""Projects, and the domain."""

from __future__ import annotations

from typing import Any

from fabric.core.identity.model import FabricIdentity, Project


def project_view(project: Project, base: str) -> dict[str, Any]:
    return {
        "id": project.project_id,
        "name": project.name,
        "domain_id": project.domain_id,
        "description": project.description,
        "enabled": project.enabled,
        "parent_id": project.domain_id,  # top-level projects' parent is their domain
        "is_domain": False,
        "tags": [],
        "options": {},
        "links": {"self": f"{base}/identity/v3/projects/{project.project_id}"},
    }


def domain_view(fabric: FabricIdentity, base: str) -> dict[str, Any]:
    return {
        "id": fabric.domain_id,
        "name": fabric.domain_name,
        "description": "The fabric's one domain",
        "enabled": True,
        "tags": [],
        "options": {},
        "links": {"self": f"{base}/identity/v3/domains/{fabric.domain_id}"},
    }
