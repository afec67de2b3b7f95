"""How Neutron writes times and owners."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from proto.ids import ProjectId


def time(wall_ms: int) -> str:
    return datetime.fromtimestamp(wall_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def standard(*, created_ms: int, updated_ms: int, revision: int) -> dict[str, Any]:
    """What every object with a history carries. Tags are not offered yet, so there are none."""
    return {
        "tags": [],
        "created_at": time(created_ms),
        "updated_at": time(updated_ms),
        "revision_number": revision,
    }


def owned_by(project_id: ProjectId) -> dict[str, str]:
    return {"tenant_id": project_id, "project_id": project_id}


OWNER_AND_STANDARD = frozenset(
    {"tenant_id", "project_id", "created_at", "updated_at", "revision_number", "description"}
)
