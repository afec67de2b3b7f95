"""ServerGroupSoftAffinityWeigher and ServerGroupSoftAntiAffinityWeigher: how many of the group are there."""

from __future__ import annotations

import numpy as np

from fabric.core.placement.host_table import HostTable, Ints
from fabric.core.placement.request import PlacementRequest
from fabric.core.server_groups.model import GroupPolicy


class SoftGroupWeigher:
    minval: float | None = None
    maxval: float | None = None

    def __init__(self, name: str, setting: str, multiplier: float, policy: GroupPolicy) -> None:
        self.name = name
        self.setting = setting
        self.multiplier = multiplier
        self._policy = policy

    def column(self, request: PlacementRequest, table: HostTable) -> Ints | None:
        group = request.group
        if group is None or group.policy is not self._policy:
            return None
        members: Ints = np.zeros(len(table), dtype=np.int64)
        for place, count in table.group_counts.get(group.group_id, {}).items():
            members[place] = count
        return members


soft_affinity_weigher = SoftGroupWeigher(
    "ServerGroupSoftAffinityWeigher", "soft_affinity_weight_multiplier", 1.0, GroupPolicy.SOFT_AFFINITY
)
soft_anti_affinity_weigher = SoftGroupWeigher(
    "ServerGroupSoftAntiAffinityWeigher",
    "soft_anti_affinity_weight_multiplier",
    -1.0,
    GroupPolicy.SOFT_ANTI_AFFINITY,
)
