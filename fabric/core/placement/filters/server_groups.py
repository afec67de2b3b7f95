"""ServerGroupAffinityFilter and ServerGroupAntiAffinityFilter: where the group's other members are, or are
not. The soft policies are weighers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from fabric.core.placement.changes import Change, ask_otherwise
from fabric.core.placement.filters.contract import Refusal
from fabric.core.placement.host_table import HostTable, Mask
from fabric.core.placement.request import PlacementRequest
from fabric.core.server_groups.model import GroupPolicy


class ServerGroupAffinityFilter:
    name = "ServerGroupAffinityFilter"

    def applies(self, request: PlacementRequest, table: HostTable) -> bool:
        """The first member may go anywhere."""
        return (
            request.group is not None
            and request.group.policy is GroupPolicy.AFFINITY
            and bool(_others(request, table))
        )

    def passes(self, request: PlacementRequest, table: HostTable) -> Mask:
        """One of which a member is moving may have it in two places: nobody can be beside both."""
        passing: Mask = np.zeros(len(table), dtype=np.bool_)
        others = _others(request, table)
        if len(others) == 1:
            passing[next(iter(others))] = True
        return passing

    def refusal(self, request: PlacementRequest, table: HostTable, place: int) -> Refusal:
        return Refusal(
            filter_name=self.name,
            reason="away from the server group",
            remark="has not all members of the server group, whose policy is affinity: one is moving"
            if place in _others(request, table)
            else "has no member of the server group, whose policy is affinity",
        )

    def cures(self, request: PlacementRequest, table: HostTable, place: int) -> Iterable[Change]:
        yield _soft(request, GroupPolicy.SOFT_AFFINITY)


class ServerGroupAntiAffinityFilter:
    name = "ServerGroupAntiAffinityFilter"

    def applies(self, request: PlacementRequest, table: HostTable) -> bool:
        return (
            request.group is not None
            and request.group.policy is GroupPolicy.ANTI_AFFINITY
            and bool(table.group_counts.get(request.group.group_id))
        )

    def passes(self, request: PlacementRequest, table: HostTable) -> Mask:
        assert request.group is not None
        passing: Mask = np.ones(len(table), dtype=np.bool_)
        for place, count in table.group_counts[request.group.group_id].items():
            passing[place] = count < request.group.max_server_per_host
        return passing

    def refusal(self, request: PlacementRequest, table: HostTable, place: int) -> Refusal:
        assert request.group is not None
        count = table.group_counts[request.group.group_id][place]
        return Refusal(
            filter_name=self.name,
            reason="a member of the server group is there",
            remark=f"has {count} of the server group, at most {request.group.max_server_per_host}",
        )

    def cures(self, request: PlacementRequest, table: HostTable, place: int) -> Iterable[Change]:
        """In another group: the rules of one that is made do not change."""
        assert request.group is not None
        more = table.group_counts[request.group.group_id][place] + 1
        yield ask_otherwise(
            f"it was asked for in a group that allows {more} on a host",
            "server_group",
            {"max_server_per_host": more},
            lambda was: replace(
                was, group=None if was.group is None else replace(was.group, max_server_per_host=more)
            ),
        )
        yield _soft(request, GroupPolicy.SOFT_ANTI_AFFINITY)


def _others(request: PlacementRequest, table: HostTable) -> Mapping[int, int]:
    """How many other members are where. One that moves is itself counted where it is."""
    assert request.group is not None
    counts = table.group_counts.get(request.group.group_id, {})
    if request.moves_from is None:
        return counts
    own = table.place.get(request.moves_from)
    return {place: count for place, count in counts.items() if place != own or count > 1}


def _soft(request: PlacementRequest, policy: GroupPolicy) -> Change:
    return ask_otherwise(
        f"it was asked for in a group whose policy is {policy.value}",
        "server_group",
        {"policy": policy.value},
        lambda was: replace(was, group=None if was.group is None else replace(was.group, policy=policy)),
    )
