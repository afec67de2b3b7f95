"""A server group as JSON."""

from __future__ import annotations

from typing import Any

from fabric.api.compute.versions import v
from fabric.api.microversion import Microversion
from fabric.core.server_groups.model import ServerGroup


def shown(group: ServerGroup, version: Microversion) -> dict[str, Any]:
    result: dict[str, Any] = {
        "id": group.group_id,
        "name": group.name,
        "members": list(group.member_ids),
    }
    if version >= v(13):
        result |= {"project_id": group.project_id, "user_id": group.user_id}
    if version >= v(64):
        most = group.max_server_per_host
        rules = {} if most is None else {"max_server_per_host": most}
        return result | {"policy": group.policy, "rules": rules}
    return result | {"policies": [group.policy], "metadata": {}}  # metadata was never used
