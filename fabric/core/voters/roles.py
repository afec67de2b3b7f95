"""Who should hold a role that the log grants. Everybody who asks with the same facts gets the same answer."""

from __future__ import annotations

from collections.abc import Collection

from fabric.core.voters.rendezvous import weight
from proto.ids import NodeId

SCHEDULER = "scheduler"
API = "api"


def choose_scheduler(
    candidates: Collection[NodeId], conductor: NodeId, current: NodeId | None
) -> NodeId | None:
    """One of `candidates` (the healthy ones); None when there are none.

    It stays where it is while its holder is healthy, also when that one becomes the conductor: a failover has
    enough to do. Chosen anew, it goes elsewhere, so that one death takes one role.
    """
    if current is not None and current in candidates:
        return current
    elsewhere = [node_id for node_id in candidates if node_id != conductor]
    return max(
        elsewhere or candidates, key=lambda node_id: (weight(SCHEDULER, node_id), node_id), default=None
    )


def choose_api(voters: Collection[NodeId], eligible: Collection[NodeId], count: int) -> frozenset[NodeId]:
    """All voters, which hold a copy of the rows anyway, and others up to `count` in all."""
    others = sorted(
        set(eligible) - set(voters), key=lambda node_id: (weight(API, node_id), node_id), reverse=True
    )
    return frozenset(voters) | frozenset(others[: max(0, count - len(set(voters)))])
