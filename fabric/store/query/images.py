"""Images."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, or_, select

from fabric.core.images.model import Image, ImageStatus
from fabric.core.images.queries import BlobsInUse, GetImage, ImageFilter, ListImages
from fabric.store import tables as t
from fabric.store.query.paging import limit_of, paged
from fabric.store.query.registry import answers

_IMAGE = select(t.images).where(t.images.c.image_id == bindparam("id"))
_KEYS = {
    "created_at": t.images.c.created_ms,
    "updated_at": t.images.c.updated_ms,
    "name": t.images.c.name,
    "status": t.images.c.status,
    "size": t.images.c.size_bytes,
    "id": t.images.c.image_id,
    "disk_format": t.images.c.disk_format,
    "container_format": t.images.c.container_format,
    "visibility": t.images.c.visibility,
    "owner": t.images.c.project_id,
    "min_disk": t.images.c.min_disk_gb,
    "min_ram": t.images.c.min_ram_mb,
}


def _image(row: Row[Any]) -> Image:
    fields = dict(row._mapping)
    return Image(**fields | {"status": ImageStatus(row.status), "tags": tuple(row.tags)})


@answers(GetImage)
def get_image(connection: Connection, query: GetImage) -> Image | None:
    row = connection.execute(_IMAGE, {"id": query.image_id}).first()
    return None if row is None else _image(row)


@answers(ListImages)
def list_images(connection: Connection, query: ListImages) -> tuple[Image, ...]:
    statement = paged(
        connection,
        _filtered(select(t.images), query.filter),
        query.page,
        base=t.images,
        keys=_KEYS,
        default=(("created_at", "desc"),),
        identity=t.images.c.image_id,
    )
    wanted, limit = query.filter, limit_of(query.page)
    found: list[Image] = []
    if limit == 0:
        return ()
    for row in connection.execute(statement):
        image = _image(row)
        if set(wanted.tags_all) <= set(image.tags) and all(
            image.properties.get(name) == value for name, value in wanted.properties
        ):
            found.append(image)
            if len(found) == limit:
                break
    return tuple(found)


@answers(BlobsInUse)
def blobs_in_use(connection: Connection, query: BlobsInUse) -> tuple[str, ...]:
    c = t.images.c
    statement = select(c.sha256).where(c.sha256.is_not(None)).distinct().order_by(c.sha256)
    return tuple(connection.execute(statement).scalars())


def _filtered(statement: Select[Any], wanted: ImageFilter) -> Select[Any]:
    c = t.images.c
    if wanted.visible_to is not None:
        open_to_all = c.visibility.in_(("public", "community"))
        statement = statement.where(or_(c.project_id == wanted.visible_to, open_to_all))
    if wanted.names:
        statement = statement.where(c.name.in_(wanted.names))
    if wanted.image_ids:
        statement = statement.where(c.image_id.in_(wanted.image_ids))
    for column, value in (
        (c.status, wanted.status),
        (c.visibility, wanted.visibility),
        (c.project_id, wanted.owner),
        (c.disk_format, wanted.disk_format),
        (c.container_format, wanted.container_format),
        (c.os_hidden, wanted.os_hidden),
        (c.protected, wanted.protected),
    ):
        if value is not None:
            statement = statement.where(column == value)
    if wanted.size_min is not None:
        statement = statement.where(c.size_bytes >= wanted.size_min)
    if wanted.size_max is not None:
        statement = statement.where(c.size_bytes <= wanted.size_max)
    return statement
