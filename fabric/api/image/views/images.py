"""An image as Glance shows it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from fabric.core.images.model import Image

COLLECTION = "/v2/images"


def render(image: Image) -> dict[str, Any]:
    """Free properties sit among the others; they can never hide one (the edge refuses such names)."""
    self_url = f"{COLLECTION}/{image.image_id}"
    return {
        **image.properties,
        "id": image.image_id,
        "name": image.name,
        "status": image.status.value,
        "visibility": image.visibility,
        "owner": image.project_id,
        "protected": image.protected,
        "os_hidden": image.os_hidden,
        "disk_format": image.disk_format,
        "container_format": image.container_format,
        "min_disk": image.min_disk_gb,
        "min_ram": image.min_ram_mb,
        "size": image.size_bytes,
        "virtual_size": image.virtual_bytes,
        "checksum": image.md5,
        "os_hash_algo": None if image.sha512 is None else "sha512",
        "os_hash_value": image.sha512,
        "tags": list(image.tags),
        "created_at": _time(image.created_ms),
        "updated_at": _time(image.updated_ms),
        "self": self_url,
        "file": f"{self_url}/file",
        "schema": "/v2/schemas/image",
    }


def render_page(images: Sequence[Image], query: Sequence[tuple[str, str]], *, limit: int) -> dict[str, Any]:
    """`first` and `next` repeat the query, relative to the mount, `next` only after a full page."""
    kept = [(name, value) for name, value in query if name != "marker"]
    page: dict[str, Any] = {
        "images": [render(image) for image in images],
        "first": _link(kept),
        "schema": "/v2/schemas/images",
    }
    if images and len(images) >= limit:
        page["next"] = _link([*kept, ("marker", images[-1].image_id)])
    return page


def _link(query: Sequence[tuple[str, str]]) -> str:
    return f"{COLLECTION}?{urlencode(query)}" if query else COLLECTION


def _time(wall_ms: int) -> str:
    return datetime.fromtimestamp(wall_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
