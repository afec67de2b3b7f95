"""Whether a node is still a member: what a door answers who is let in nowhere."""

from __future__ import annotations

from fabric.core.nodes.queries import GetNode, GetRemovedNode
from fabric.runtime.hard_state import HardState
from proto.join import StandingReply, StandingRequest
from proto.membership import Removal


async def standing(state: HardState, request: StandingRequest, curve_public: bytes) -> StandingReply:
    """`curve_public` is proven by the connection: who holds another key learns nothing about that node."""
    node = await state.read(GetNode(node_id=request.node_id))
    if node is not None:
        return StandingReply(is_member=node.curve_public == curve_public)
    gone = await state.read(GetRemovedNode(node_id=request.node_id))
    if gone is None or gone.curve_public != curve_public or not gone.removal_body:
        return StandingReply(is_member=False)
    removal = Removal(body=gone.removal_body, signature=gone.removal_signature)
    return StandingReply(is_member=False, removals=(removal,))
