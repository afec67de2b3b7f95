"""What servers were asked for with, for whoever shows them."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, select

from fabric.core.servers.model import Origin
from fabric.core.servers.queries import ListOrigins
from fabric.store import tables as t
from fabric.store.query.among import among, rows_among
from fabric.store.query.hints import hints_among
from fabric.store.query.level import is_at
from fabric.store.query.registry import answers
from fabric.store.tables import level2
from proto.ids import ServerId

GROUP = "group"  # the hint by which a server joins one; which it is in, its membership says

_M = level2.server_group_members.c
_IMAGE_OF = select(t.servers.c.server_id, t.servers.c.image_id).where(among(t.servers.c.server_id))
_PROPERTIES = select(t.images.c.image_id, t.images.c.properties).where(among(t.images.c.image_id))
_GROUP_OF = select(_M.server_id, _M.group_id).where(among(_M.server_id))


@answers(ListOrigins)
def list_origins(connection: Connection, query: ListOrigins) -> Mapping[ServerId, Origin]:
    images = {row.server_id: row.image_id for row in rows_among(connection, _IMAGE_OF, query.server_ids)}
    named = sorted(set(images.values()) - {""})
    properties = {row.image_id: row.properties for row in rows_among(connection, _PROPERTIES, named)}
    hints, groups = {}, {}
    if is_at(connection, level2.LEVEL):
        hints = hints_among(connection, query.server_ids)
        groups = {row.server_id: row.group_id for row in rows_among(connection, _GROUP_OF, query.server_ids)}
    return {
        server_id: Origin(
            image_properties=properties.get(image_id, {}),
            hints={
                **hints.get(server_id, {}),
                **({GROUP: (groups[server_id],)} if server_id in groups else {}),
            },
        )
        for server_id, image_id in images.items()
    }
