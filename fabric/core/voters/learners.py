"""Who stands by, who is invited next, and which learner is of no use any more."""

from __future__ import annotations

from collections.abc import Callable

from fabric.core.voters.facts import NodeFacts
from fabric.core.voters.memory import Memory
from fabric.core.voters.spread import crowded_zone, pick, relieves
from fabric.core.voters.view import View
from proto.ids import NodeId, VoterId, node_of


def beside(view: View, voters: frozenset[VoterId]) -> frozenset[VoterId]:
    """The learners beside these voters. Who stops voting stands by, if nothing speaks against it."""
    return frozenset(
        member
        for member in (view.voters | view.learners) - voters
        if view.stays(member) and not _is_doubled(view, member, voters)
    )


def without_surplus(view: View) -> frozenset[VoterId]:
    """The present learners without those beyond the voters that should be and their standbys."""
    useful = beside(view, view.voters)
    room = max(0, _places(view) - _staying(view))
    kept: list[NodeFacts] = []
    of_node = {node_of(learner): learner for learner in sorted(useful)}
    left = view.nodes(of_node.values())
    crowd, voting = crowded_zone(view.nodes(view.voters)), view.nodes(view.voters)
    tiers: tuple[Callable[[NodeFacts], bool], ...] = (
        lambda node: view.is_wanted(node.node_id),
        lambda node: crowd is not None and relieves(node, crowd, voting),
        lambda node: view.is_caught_up(of_node[node.node_id]),
        lambda node: True,
    )
    for is_better in tiers:
        tier = [node for node in left if node not in kept and is_better(node)]
        kept += pick(tier, room - len(kept), [*voting, *kept], view.now_ms)
    return frozenset(of_node[node.node_id] for node in kept)


def next_invitation(view: View, memory: Memory) -> NodeFacts | None:
    """One at a time, and whoever does not come rests while others are asked.

    A member that has been silent for long on a living node is asked, too: if its disk was lost, it answers
    with a new name, and the old one is lost from then on.
    """
    if memory.invitation(view) is not None:
        return None
    taken = beside(view, view.voters)
    members = view.nodes(view.voters | taken)
    asked = [
        node for node in view.facts.nodes if view.is_settled(node) and not memory.rests(node.node_id, view)
    ]
    known = {node_of(member) for member in view.voters | view.learners}
    silent = [node for node in asked if node.node_id in known and _is_silent(view, node.node_id)]
    fresh = [node for node in asked if node.node_id not in known]
    if _staying(view) + len(taken) >= _places(view):
        fresh = _worth_a_place(view, fresh, taken)
    wanted = [node for node in fresh if view.is_wanted(node.node_id)]
    return next(iter(pick(silent or wanted or fresh, 1, members, view.now_ms)), None)


def _places(view: View) -> int:
    """Of members that nothing speaks against: the voters that should be, and their standbys."""
    should_be = max(view.size_for(view.lately_able), len(view.voters))
    return max((view.config.target or should_be) + view.config.standbys, view.config.serving)


def _staying(view: View) -> int:
    """Voters that need no replacement: the others' places are free for it."""
    return sum(map(view.stays, view.voters))


def _worth_a_place(view: View, nodes: list[NodeFacts], taken: frozenset[VoterId]) -> list[NodeFacts]:
    """Though all places are taken: some learner would make room, and these help more."""
    if all(view.is_wanted(node_of(learner)) for learner in taken):
        return []
    voting = view.nodes(view.voters)
    crowd = crowded_zone(voting)
    if crowd is not None and any(relieves(view.node(learner), crowd, voting) for learner in taken):
        crowd = None
    return [
        node
        for node in nodes
        if view.is_wanted(node.node_id) or (crowd is not None and relieves(node, crowd, voting))
    ]


def _is_silent(view: View, node_id: NodeId) -> bool:
    """All it is known by."""
    return all(
        view.silent_ms(member) >= view.config.dead_after_ms
        for member in view.voters | view.learners
        if node_of(member) == node_id
    )


def _is_doubled(view: View, member: VoterId, voters: frozenset[VoterId]) -> bool:
    """Its node votes already under another name, which is not lost."""
    return any(node_of(voter) == node_of(member) and not view.is_lost(voter) for voter in voters)
