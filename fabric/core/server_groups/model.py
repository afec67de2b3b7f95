"""A server group as rows know it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from proto.ids import ProjectId, ServerGroupId, ServerId, UserId


class GroupPolicy(StrEnum):
    """Values are Nova's own. The soft ones are wishes: the scheduler weighs them and nobody enforces them."""

    AFFINITY = "affinity"
    ANTI_AFFINITY = "anti-affinity"
    SOFT_AFFINITY = "soft-affinity"
    SOFT_ANTI_AFFINITY = "soft-anti-affinity"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerGroup:
    """`max_server_per_host` is anti-affinity's; None where nobody said: 1."""

    group_id: ServerGroupId
    project_id: ProjectId
    user_id: UserId
    name: str
    policy: str
    max_server_per_host: int | None
    member_ids: tuple[ServerId, ...]
    created_ms: int
