"""Images. Messages in Glance's words."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, insert, update

from fabric.core.images.model import ImageStatus
from fabric.store import tables as t
from fabric.store.apply.context import ApplyContext, Result, reject
from fabric.store.apply.lookups import is_image, need_image, need_project
from fabric.store.apply.registry import handles
from proto.commands.catalog import ImageActivate, ImageCreate, ImageDelete, ImageUpdate

VISIBILITIES = ("public", "private", "shared", "community")
SAVING = "saving"  # bytes under way; no command sets it yet, ImageActivate takes it


@handles(ImageCreate, lambda command: command.image_id)
def create_image(context: ApplyContext, command: ImageCreate) -> Result:
    need_project(context, command.project_id)
    if is_image(context, command.image_id):
        reject("conflict", f"Image ID {command.image_id} already exists!")
    context.write(
        insert(t.images),
        {
            "image_id": command.image_id,
            "project_id": command.project_id,
            "status": ImageStatus.QUEUED.value,
            **_described(command),
            "size_bytes": None,
            "virtual_bytes": None,
            "md5": None,
            "sha512": None,
            "sha256": None,
            "node_id": None,
            "generation": 1,
            "created_ms": context.time_ms,
            "updated_ms": context.time_ms,
        },
    )
    return {"generation": 1}


@handles(ImageUpdate, lambda command: command.image_id)
def update_image(context: ApplyContext, command: ImageUpdate) -> Result:
    row = need_image(context, command.image_id)
    if row.generation != command.read_generation:
        reject(
            "stale", f"Image {command.image_id} was changed meanwhile. Read it again and repeat the change."
        )
    return _write(context, row, _described(command))


@handles(ImageActivate, lambda command: command.image_id)
def activate_image(context: ApplyContext, command: ImageActivate) -> Result:
    row = need_image(context, command.image_id)
    if row.status not in (ImageStatus.QUEUED.value, SAVING):
        reject("bad_state", f"Image status transition from {row.status} to saving is not allowed")
    return _write(
        context,
        row,
        {
            "status": ImageStatus.ACTIVE.value,
            "size_bytes": command.size_bytes,
            "virtual_bytes": command.virtual_bytes,
            "md5": command.md5,
            "sha512": command.sha512,
            "sha256": command.sha256,
            "node_id": command.node_id,
        },
    )


@handles(ImageDelete, lambda command: command.image_id)
def delete_image(context: ApplyContext, command: ImageDelete) -> Result:
    row = need_image(context, command.image_id)
    if row.protected:
        reject("forbidden", f"Image {command.image_id} is protected and cannot be deleted.")
    context.write(delete(t.images).where(t.images.c.image_id == command.image_id))
    return {"sha256": row.sha256}


def _described(command: ImageCreate | ImageUpdate) -> dict[str, Any]:
    if command.visibility not in VISIBILITIES:
        reject("invalid", f"Invalid visibility value: {command.visibility}")
    if command.min_disk_gb < 0 or command.min_ram_mb < 0:
        reject("invalid", "min_disk and min_ram must not be negative.")
    return {
        "name": command.name,
        "visibility": command.visibility,
        "disk_format": command.disk_format,
        "container_format": command.container_format,
        "min_disk_gb": command.min_disk_gb,
        "min_ram_mb": command.min_ram_mb,
        "protected": command.protected,
        "os_hidden": command.os_hidden,
        "properties": dict(command.properties),
        "tags": list(command.tags),
    }


def _write(context: ApplyContext, row: Any, values: dict[str, Any]) -> Result:
    generation = row.generation + 1
    context.write(
        update(t.images)
        .where(t.images.c.image_id == row.image_id)
        .values(**values, generation=generation, updated_ms=context.time_ms)
    )
    return {"generation": generation}
