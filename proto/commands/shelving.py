"""Shelving: a server becomes an image and gives its host back, and is a server again later.
States: fabric/core/servers/shelved.py."""

from __future__ import annotations

from dataclasses import dataclass

from proto.commands.base import Command, command
from proto.ids import ImageId, NodeId, RequestId, ServerId, UserId


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class ServerShelve(Command):
    """Its host is to stop it and to make an image of its root disk, which will be `image_id`. Until that is
    done nothing is given up. Rejected: `not_found`, `bad_state`, `busy`."""

    KIND = "server.shelve"
    LEVEL = 3
    server_id: ServerId
    image_id: ImageId
    user_id: UserId  # who asked for it
    request_id: RequestId
    deadline_ms: int


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class ServerShelved(Command):
    """By the host: the root disk's image lies whole in its blob store. Makes the image, active and held by
    the host, and lets the server go from there. Rejected: `forbidden` (not this host's server), `stale` (the
    server has newer work), `bad_state` (it is not being shelved), `conflict` (there is such an image),
    `invalid` (sums or sizes that no file has), `not_found`."""

    KIND = "server.shelved"
    LEVEL = 3
    server_id: ServerId
    host_id: NodeId
    generation: int
    size_bytes: int
    virtual_bytes: int
    md5: str
    sha256: str
    sha512: str


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class ServerUnshelve(Command):
    """It waits for a host as a new server does, and is built there from its image. `zone` replaces the zone
    that it is bound to where `changes_zone`; None: to none. `host_name`: the only host that will do.
    Rejected: `not_found`, `bad_state`, `busy`."""

    KIND = "server.unshelve"
    LEVEL = 3
    server_id: ServerId
    request_id: RequestId
    changes_zone: bool = False
    zone: str | None = None
    host_name: str | None = None
    deadline_ms: int
