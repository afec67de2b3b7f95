"""An image as rows know it. The bytes live content-addressed on nodes, never in the log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from proto.ids import ImageId, NodeId, ProjectId


class ImageStatus(StrEnum):
    QUEUED = "queued"
    ACTIVE = "active"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    image_id: ImageId
    project_id: ProjectId
    name: str | None
    status: ImageStatus
    visibility: str
    disk_format: str | None
    container_format: str | None
    min_disk_gb: int
    min_ram_mb: int
    protected: bool
    os_hidden: bool
    properties: Mapping[str, str]
    tags: tuple[str, ...]
    size_bytes: int | None
    virtual_bytes: int | None
    md5: str | None
    sha512: str | None
    sha256: str | None
    node_id: NodeId | None  # first holder of the bytes
    generation: int
    created_ms: int
    updated_ms: int
