"""What may be asked about images."""

from __future__ import annotations

from dataclasses import dataclass, field

from fabric.core.images.model import Image
from fabric.core.queries import Page, Query
from proto.ids import ImageId, ProjectId


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFilter:
    """Exact matches. `visible_to` None: all (admin); else own + public + community."""

    visible_to: ProjectId | None = None
    names: tuple[str, ...] = ()
    image_ids: tuple[ImageId, ...] = ()
    status: str | None = None
    visibility: str | None = None
    owner: str | None = None
    disk_format: str | None = None
    container_format: str | None = None
    tags_all: tuple[str, ...] = ()
    os_hidden: bool | None = False
    protected: bool | None = None
    size_min: int | None = None
    size_max: int | None = None
    properties: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GetImage(Query[Image | None]):
    image_id: ImageId


@dataclass(frozen=True, slots=True, kw_only=True)
class ListImages(Query[tuple[Image, ...]]):
    """Default order: created_at desc, id desc."""

    filter: ImageFilter = field(default_factory=ImageFilter)
    page: Page = field(default_factory=Page)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobsInUse(Query[tuple[str, ...]]):
    """Content addresses (sha256) that some image still names: every other blob may go."""
