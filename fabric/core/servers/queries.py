"""What may be asked about servers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fabric.core.queries import Page, Query
from fabric.core.servers.model import HostAssignments, Origin, Server, ServerView
from proto.ids import NodeId, ProjectId, ServerId


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFilter:
    """All given conditions must hold. `project_id` None: all projects (admin)."""

    project_id: ProjectId | None = None
    name_regex: str | None = None  # Nova's `name`: a regular expression, unanchored
    statuses: tuple[str, ...] = ()  # API statuses: ACTIVE, BUILD, ...
    flavor_id: str | None = None
    image_id: str | None = None
    host_name: str | None = None
    user_id: str | None = None
    key_name: str | None = None
    zone: str | None = None
    ip_regex: str | None = None  # matches any fixed IPv4 address
    vm_state: str | None = None
    task_state: str | None = None
    server_ids: tuple[ServerId, ...] = ()
    reservation_id: str | None = None
    changed_since_ms: int | None = None
    changed_before_ms: int | None = None
    tags_all: tuple[str, ...] = ()
    description: str | None = None
    locked: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetServer(Query[ServerView | None]):
    server_id: ServerId


@dataclass(frozen=True, slots=True, kw_only=True)
class ListServers(Query[tuple[ServerView, ...]]):
    """Default order: created_at desc, id desc."""

    filter: ServerFilter = field(default_factory=ServerFilter)
    page: Page = field(default_factory=Page)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOrigins(Query[Mapping[ServerId, Origin]]):
    """Of those of the servers that there are."""

    server_ids: tuple[ServerId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOverdue(Query[tuple[Server, ...]]):
    """Past their deadline at `now_ms`: the reconciler of last resort's inbox."""

    now_ms: int
    limit: int = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class GetAssignments(Query[HostAssignments]):
    """See HostAssignments. The answer is cut so that it fits one frame (about `bytes_max` encoded)."""

    host_id: NodeId
    since_index: int = 0
    bytes_max: int = 512 * 1024
