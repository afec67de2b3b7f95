"""Which scheduler hints no filter in force reads. Such a one counts for nothing, as in Nova; whoever gave it
is to hear so."""

from __future__ import annotations

from fabric.core.placement.filters import FILTERS
from fabric.core.placement.policy import Policy
from fabric.core.placement.request import PlacementRequest

READERS = {
    "same_host": "SameHostFilter",
    "different_host": "DifferentHostFilter",
    "build_near_host_ip": "SimpleCIDRAffinityFilter",
    "cidr": "SimpleCIDRAffinityFilter",
    "query": "JsonFilter",
}  # by hint


def unread_hints(request: PlacementRequest, policy: Policy) -> tuple[str, ...]:
    """By name. A filter of somebody else's may read any hint but ours: nothing is said of those then."""
    active = {each.name for each in policy.filters}
    has_foreign = bool(active - FILTERS.keys())
    return tuple(
        name
        for name in sorted(request.hints)
        if (READERS[name] not in active if name in READERS else not has_foreign)
    )
