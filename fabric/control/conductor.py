"""What keeps the conductor from answering, in words: for whoever asked for something only it can do."""

from __future__ import annotations

from fabric.control.operate import ANSWERING_STATES
from fabric.core.membership.model import Member, MemberState
from fabric.runtime.mesh_view import MeshView, is_cut_off

_CURE = {
    MemberState.STALLED: "its agent is stuck: restart it there",
    MemberState.AGENT_DOWN: "start its agent there",
    MemberState.HOST_DOWN: "bring its machine or its network back",
    MemberState.LEAVING: "its agent was stopped: start it there",
    MemberState.LEFT: "its agent was stopped: start it there",
    MemberState.FORGOTTEN: "start its agent there",
}


def trouble(view: MeshView) -> str | None:
    """Who conducts, in which state it is, and what to do. None: as far as this node knows it answers."""
    holder = last_holder(view)
    if holder is None:
        return (
            "no node known here conducts this fabric; `fabric doctor mesh` looks whether others are reached"
        )
    if is_cut_off(view):
        name = holder.record.name
        return f"{name} conducts this fabric, and this node hears nobody; `fabric doctor mesh` looks why"
    if holder.state in ANSWERING_STATES:
        return None
    cure = _CURE[holder.state]
    return f"{holder.record.name} conducts this fabric and is {holder.state.value}; {cure}"


def last_holder(view: MeshView) -> Member | None:
    """The node with the newest claim to conduct, there or not."""
    found = [
        (claim.fence, member.record.node_id, member)
        for member in view.members()
        for claim in member.record.roles
        if claim.role == "conductor"
    ]
    return max(found, key=lambda each: each[:2])[2] if found else None
