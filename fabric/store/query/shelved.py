"""What is known of servers' shelving."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, select

from fabric.core.servers.model import Server
from fabric.core.servers.shelved import MAY_HAVE_IMAGE, Shelved
from fabric.store.query.among import among, rows_among
from fabric.store.query.level import is_at
from fabric.store.tables import level3
from proto.ids import ImageId, ServerId

_SAVED = select(level3.shelved_servers).where(
    level3.shelved_servers.c.is_saved.is_(True), among(level3.shelved_servers.c.server_id)
)


def saved_among(connection: Connection, servers: Sequence[Server]) -> Mapping[ServerId, Shelved]:
    """Of those that are an image, by server. Most cannot be, which costs no look."""
    ids = sorted(server.server_id for server in servers if server.vm_state in MAY_HAVE_IMAGE)
    if not ids or not is_at(connection, level3.LEVEL):
        return {}
    return {row.server_id: Shelved(**row._mapping) for row in rows_among(connection, _SAVED, ids)}


def image_of(server: Server, saved: Mapping[ServerId, Shelved]) -> ImageId:
    """What its root disk is to be made of."""
    return saved[server.server_id].image_id if server.server_id in saved else server.image_id
