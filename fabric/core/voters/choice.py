"""Which voters there should be now: as many as help, the fittest of those at hand.

Every odd number that is allowed, and the present one, is filled with the best at hand; the one that leaves
most voters to spare wins, and on a tie nothing moves. From this alone follow the rules:

- one grows to three and three to five in pairs: a second or fourth voter leaves no more to spare;
- a dead voter is replaced in one joint change as soon as one standby is ready, pair or not;
- without a standby it stays: of three with one dead, two answer and none is to spare; one alone would spare
  none either, and would hold the only durable copy;
- five with two dead for good and nobody to replace them spare none, three living ones spare one: they shrink,
  also before replacements have caught up, for the next death would stop everything;
- five with one dead stay five: four of five spare one, as three would.

Who is unwanted leaves when a replacement is ready. While one may still come, it votes on; when the fabric has
no node for it, the others go on alone, at their odd number.

Both the voters before and those after must have a majority that is well now: a joint change needs both
(thesis, 4.3), and one that cannot commit would block every other.
"""

from __future__ import annotations

from collections.abc import Callable

from fabric.core.voters.config import SIZES
from fabric.core.voters.spread import crowded_zone, pick, relieves
from fabric.core.voters.view import View
from proto.ids import VoterId, node_of


def choose_voters(view: View) -> frozenset[VoterId]:
    """The present ones when there is nothing better, or nothing safe."""
    present, target = len(view.voters), view.config.target
    most = target or max(view.size_for(view.able), present)
    sizes = {size for size in SIZES if size <= most}
    if not target or present <= target:
        sizes.add(present)
    ranks = _ranks(view)
    options = [voters for size in sorted(sizes) if (voters := _of_size(view, size, ranks)) is not None]
    best = max(options, key=lambda voters: _worth(view, voters), default=view.voters)
    return best if is_safe(view, best) else view.voters


def choose_move(view: View) -> frozenset[VoterId]:
    """One voter elsewhere, when one zone holds a majority and another has somebody ready; otherwise the
    present ones. The leader and the wanted are not moved."""
    nodes = view.nodes(view.voters)
    crowded = crowded_zone(nodes)
    ready = [voter for voter in view.learners if crowded is not None and view.is_ready(voter)]
    into = [voter for voter in ready if relieves(view.node(voter), crowded or "", nodes)]
    movable = [
        voter
        for voter in view.voters
        if view.node(voter).zone == crowded and voter != view.facts.me and not view.is_wanted(node_of(voter))
    ]
    if not into or not movable:
        return view.voters
    best = _spread(view, into, 1, view.voters)
    kept = _spread(view, movable, len(movable) - 1, view.voters - frozenset(movable))
    moved = view.voters - frozenset(movable) | kept | best
    return moved if is_safe(view, moved) else view.voters


def is_safe(view: View, voters: frozenset[VoterId]) -> bool:
    return bool(voters) and view.has_quorum(view.voters) and view.has_quorum(voters)


def _worth(view: View, voters: frozenset[VoterId]) -> tuple[int, bool, bool, int]:
    size = len(voters)
    return view.spare(voters), size % 2 == 1, size == len(view.voters), -size


def _of_size(view: View, size: int, ranks: list[list[VoterId]]) -> frozenset[VoterId] | None:
    """The best at hand, one a node, the leader first. None: there are not as many."""
    chosen: frozenset[VoterId] = frozenset()
    for rank in ranks:
        taken = {node_of(voter) for voter in chosen}
        free = [voter for voter in rank if node_of(voter) not in taken]
        chosen |= _spread(view, free, size - len(chosen), chosen)
        if len(chosen) == size:
            return chosen
    return None


def _ranks(view: View) -> list[list[VoterId]]:
    """All who could be taken, each in the first tier that has it."""
    ranks = []
    left = sorted(view.voters | view.learners)
    for is_in_tier in _tiers(view):
        ranks.append([voter for voter in left if is_in_tier(voter)])
        left = [voter for voter in left if voter not in ranks[-1]]
    return ranks


def _tiers(view: View) -> list[Callable[[VoterId], bool]]:
    """Who is taken before whom. Whoever votes is taken before others that are as good: nothing moves for its
    own sake. The last ones only fill up."""
    facts = view.facts

    def is_voter(voter: VoterId) -> bool:
        return voter in view.voters and view.stays(voter)

    def is_wanted(voter: VoterId) -> bool:
        return view.is_wanted(node_of(voter))

    def is_filler(voter: VoterId) -> bool:
        return voter in view.voters and not view.is_unwanted(node_of(voter))

    may_wait = view.lately_able >= len(view.voters)
    return [
        lambda voter: voter == facts.me and is_voter(voter),
        lambda voter: is_voter(voter) and is_wanted(voter) and view.is_well(voter),
        lambda voter: view.is_ready(voter) and is_wanted(voter),
        lambda voter: is_voter(voter) and view.is_well(voter),
        is_voter,
        view.is_ready,
        lambda voter: is_filler(voter) and not view.is_gone(voter),
        lambda voter: is_filler(voter) and not view.is_lost(voter),
        is_filler,
        lambda voter: voter in view.voters and not view.is_gone(voter) and may_wait,
        lambda voter: voter in view.voters and may_wait,
    ]


def _spread(view: View, among: list[VoterId], count: int, beside: frozenset[VoterId]) -> frozenset[VoterId]:
    of_node = {node_of(voter): voter for voter in sorted(among)}
    picked = pick(view.nodes(of_node.values()), count, view.nodes(beside), view.now_ms)
    return frozenset(of_node[node.node_id] for node in picked)
