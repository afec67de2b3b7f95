"""What may be asked about server groups."""

from __future__ import annotations

from dataclasses import dataclass, field

from fabric.core.queries import Page, Query
from fabric.core.server_groups.model import ServerGroup
from proto.ids import ProjectId, ServerGroupId


@dataclass(frozen=True, slots=True, kw_only=True)
class ListServerGroups(Query[tuple[ServerGroup, ...]]):
    """The oldest first. `project_id` None: of all projects. Nova counts `offset` groups and has no marker."""

    project_id: ProjectId | None = None
    page: Page = field(default_factory=Page)
    offset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GetServerGroup(Query[ServerGroup | None]):
    group_id: ServerGroupId
