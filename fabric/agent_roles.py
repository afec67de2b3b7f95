"""Which nodes hold roles, as they say themselves. Membership has checked that their certificates allow it."""

from __future__ import annotations

from fabric.config import Config
from fabric.core.voters.wishes import NEVER, SCHEDULES_LABEL, VOTES_LABEL
from fabric.runtime.authority import NodeTrust
from fabric.runtime.fleet import Fleet
from proto.ids import NodeId

ASKING_ROLES = ("conductor", "api")  # the one nudges hosts, the other shows their guests' consoles


def may_ask_hosts(fleet: Fleet, node_id: NodeId) -> bool:
    """Whether hosts owe that node an answer: it says that it conducts or serves the API, and its
    certificate lets it say so (membership refuses the claim otherwise)."""
    return _claims(fleet, node_id, ASKING_ROLES)


def wishes_of(config: Config) -> dict[str, str]:
    """What this node's operator keeps it out of, as labels of its record."""
    votes = config.voters.eligible and not config.state.is_shared
    wishes = {VOTES_LABEL: votes, SCHEDULES_LABEL: config.roles.scheduler}
    return {label: NEVER for label, may in wishes.items() if not may}


def conducts(fleet: Fleet, node_id: NodeId) -> bool:
    return _claims(fleet, node_id, ("conductor",))


def may_vote(fleet: Fleet, trust: NodeTrust, node_id: NodeId) -> bool:
    """Whether that node's certificate lets it lead the log, whatever it claims now."""
    member = fleet.member(node_id)
    return member is not None and trust.allows(member.record.certificate, "conductor")


def _claims(fleet: Fleet, node_id: NodeId, roles: tuple[str, ...]) -> bool:
    member = fleet.member(node_id)
    return member is not None and any(claim.role in roles for claim in member.record.roles)


def conductor_of(fleet: Fleet) -> NodeId | None:
    """The living node with the newest claim to conduct; None while there is none."""
    best: tuple[int, NodeId] | None = None
    for member in fleet.members():
        for claim in member.record.roles:
            if claim.role == "conductor" and fleet.is_alive(member.record.node_id):
                best = max(best or (-1, NodeId("")), (claim.fence, member.record.node_id))
    return None if best is None else best[1]
