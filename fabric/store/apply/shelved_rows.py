"""Reading and writing what is known of servers' shelving, and the images that they became."""

from __future__ import annotations

from sqlalchemy import bindparam, delete, insert, select, update

from fabric.core.images.model import ImageStatus
from fabric.core.servers.shelved import MAY_HAVE_IMAGE, SHELVING_TASKS, image_name, image_properties
from fabric.store import tables as t
from fabric.store.apply.context import ApplyContext, single
from fabric.store.apply.lookups import image_if_any
from fabric.store.prepared import AnyRow, prepared
from fabric.store.tables import level3
from proto.commands.shelving import ServerShelved

_MAY_HAVE_IMAGE = frozenset(state.value for state in MAY_HAVE_IMAGE)
_SHELVING = frozenset(task.value for task in SHELVING_TASKS)

_KEY = level3.shelved_servers.c.server_id == bindparam("key")
_OF = prepared(single(select(level3.shelved_servers).where(_KEY)))
_INSERT = prepared(insert(level3.shelved_servers))
_UPDATE = prepared(update(level3.shelved_servers).where(_KEY))
_DELETE = prepared(delete(level3.shelved_servers).where(_KEY))
_INSERT_IMAGE = prepared(insert(t.images))
_DELETE_IMAGE = prepared(delete(t.images).where(t.images.c.image_id == bindparam("key")))


def shelved(context: ApplyContext, row: AnyRow) -> AnyRow | None:
    """What is known of that server's shelving. Most servers cannot have any, which costs no look."""
    if row.vm_state not in _MAY_HAVE_IMAGE and row.task_state not in _SHELVING:
        return None
    return context.row(_OF, {"key": row.server_id}) if context.is_at(level3.LEVEL) else None


def insert_shelved(context: ApplyContext, row: AnyRow, *, image_id: str, user_id: str) -> None:
    of = {"server_id": row.server_id, "image_id": image_id, "user_id": user_id}
    context.write(_INSERT, {**of, "is_saved": False, "host_wanted": None})


def want_host(context: ApplyContext, server_id: str, host_name: str | None) -> None:
    """That it be unshelved there, or anywhere."""
    context.write(_UPDATE, {"key": server_id, "host_wanted": host_name})


def save_image(context: ApplyContext, row: AnyRow, kept: AnyRow, command: ServerShelved) -> None:
    """The image of the server's disk is there, in its host's hands."""
    base = image_if_any(context, row.image_id)
    properties = image_properties(
        {} if base is None else base.properties,
        server_id=row.server_id,
        base_image_id=row.image_id,
        user_id=kept.user_id,
    )
    made = {
        "image_id": kept.image_id,
        "project_id": row.project_id,
        "name": image_name(row.name),
        "status": ImageStatus.ACTIVE.value,
        "visibility": "private",
        "disk_format": "qcow2",
        "container_format": "bare",
        "min_disk_gb": row.root_gb,
        "min_ram_mb": 0 if base is None else base.min_ram_mb,
        "protected": False,
        "os_hidden": False,
        "properties": properties,
        "tags": [],
        "size_bytes": command.size_bytes,
        "virtual_bytes": command.virtual_bytes,
        "md5": command.md5,
        "sha512": command.sha512,
        "sha256": command.sha256,
        "node_id": command.host_id,
        "generation": 1,
        "created_ms": context.time_ms,
        "updated_ms": context.time_ms,
    }
    context.write(_INSERT_IMAGE, made)
    context.write(_UPDATE, {"key": row.server_id, "is_saved": True})


def forget_shelved(context: ApplyContext, row: AnyRow) -> list[str]:
    """It runs, or goes, or was never shelved to the end: its image goes, unless its owner has protected it.
    Gives who held that image: one node, or none."""
    kept = shelved(context, row)
    if kept is None:
        return []
    context.write(_DELETE, {"key": row.server_id})
    image = image_if_any(context, kept.image_id) if kept.is_saved else None
    if image is None or image.protected:
        return []
    context.write(_DELETE_IMAGE, {"key": kept.image_id})
    return [] if image.node_id is None else [image.node_id]
