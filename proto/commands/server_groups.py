"""Server groups: which servers shall be near each other, and which apart."""

from __future__ import annotations

from dataclasses import dataclass

from proto.commands.base import Command, command
from proto.ids import ProjectId, ServerGroupId, UserId


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class ServerGroupCreate(Command):
    """Rejected: `quota`, `not_found` (project), `conflict` (the id is taken), `invalid` (no such policy, or a
    rule that it does not have)."""

    KIND = "server_group.create"
    LEVEL = 2
    group_id: ServerGroupId
    project_id: ProjectId
    user_id: UserId
    name: str
    policy: str  # core.server_groups.model.Policy value
    max_server_per_host: int | None = None  # of anti-affinity; None: 1


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class ServerGroupDelete(Command):
    """Its servers stay as they are, in no group. Rejected: `not_found`."""

    KIND = "server_group.delete"
    LEVEL = 2
    group_id: ServerGroupId
