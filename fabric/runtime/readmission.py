"""What the rows say of membership and the mesh may not know: told again by a conductor that starts.

A crash between the log and the mesh, or a whole fabric that starts with lost peers files, leaves nodes that
are admitted and unknown, removed and remembered, or known under keys that are spent."""

from __future__ import annotations

import logging
from typing import Protocol

from fabric.core.membership.record import read_state
from fabric.core.membership.trust import Trust
from fabric.core.nodes.model import Node
from fabric.core.nodes.queries import ListNodes, ListRemovedNodes
from fabric.runtime.fleet import Fleet
from fabric.runtime.hard_state import HardState
from proto.errors import WireError
from proto.membership import NodeState, Removal

log = logging.getLogger(__name__)


class AdmittingFleet(Fleet, Protocol):
    def admit(self, state: NodeState) -> None: ...

    def remove(self, removal: Removal) -> None: ...


async def readmit(state: HardState, fleet: AdmittingFleet, trust: Trust) -> None:
    for gone in await state.read(ListRemovedNodes()):
        if gone.removal_body:
            fleet.remove(Removal(body=gone.removal_body, signature=gone.removal_signature))
    for node in await state.read(ListNodes()):
        if node.node_id != fleet.me and node.body:
            _tell(node, fleet, trust)


def _tell(node: Node, fleet: AdmittingFleet, trust: Trust) -> None:
    try:
        state = NodeState(certificate=node.certificate, body=node.body, signature=node.signature)
        record = read_state(state).record
    except (WireError, ValueError) as error:
        log.warning("admitted node not readable", extra={"node": node.name, "reason": str(error)})
        return
    known = fleet.member(node.node_id)
    if known is None:
        fleet.admit(state)
    elif trust.is_newer(node.certificate, known.record.certificate) and record.order > known.record.order:
        fleet.admit(state)  # keys were rotated and nobody came to tell; a renewal its owner tells itself
