"""Who should hold a role that the log grants. Everybody who asks with the same facts gets the same answer."""

from __future__ import annotations

from collections.abc import Callable, Collection

from fabric.core.voters.rendezvous import weight
from proto.ids import NodeId

SCHEDULER = "scheduler"


def choose_scheduler(
    candidates: Collection[NodeId],
    conductor: NodeId,
    current: NodeId | None,
    *,
    zone_of: Callable[[NodeId], str] = lambda node_id: "",
    spared: Collection[NodeId] = (),
) -> NodeId | None:
    """One of `candidates` (the healthy ones); None when there are none.

    It stays where it is while its holder is healthy, also when that one becomes the conductor: a failover has
    enough to do. Chosen anew, it goes elsewhere, so that one death takes one role; to another zone if there
    is one, so that one zone's does, too. The `spared` take it only where there is nobody else.
    """
    if current is not None and current in candidates:
        return current

    def rank(node_id: NodeId) -> tuple[bool, bool, bool, int, NodeId]:
        is_apart = zone_of(node_id) != zone_of(conductor)
        return node_id not in spared, node_id != conductor, is_apart, weight(SCHEDULER, node_id), node_id

    return max(candidates, key=rank, default=None)
