"""Which providers could serve a request: Placement's allocation candidates.

Each tree is searched by itself, group by group: a partial choice that cannot be completed is left at once.
The trees take turns, so that a limit, or the end of the search, leaves something of many hosts rather than
all of one. The search is bounded: STEPS_MAX choices are looked at and CANDIDATES_MAX answers given, and the
answer says when that was not all.

Sources: Placement's API reference and its "Modeling with Provider Trees"; what each filter spans:
- the unsuffixed group's traits may be found on different providers of its choice, its forbidden ones on none;
- its aggregates count for a provider if the provider or its root is in them; a numbered group's provider
  itself must be;
- a sharing provider serves every tree of which a provider is in an aggregate with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fabric.core.providers.request import AllocationRequest, CandidateRequest, Candidates, GroupRequest
from fabric.core.providers.tree import Forest, Provider

STEPS_MAX = 50_000  # choices, shared out among the trees
TREE_STEPS_MIN = 100
CANDIDATES_MAX = 1_000


@dataclass(frozen=True, slots=True)
class _Pick:
    """One group served: which class comes from where. Without resources: who merely has the traits."""

    suffix: str
    parts: tuple[tuple[Provider, str, int], ...]
    providers: tuple[Provider, ...]


class _Steps:
    """How much of the search is left."""

    def __init__(self, left: int) -> None:
        self.left = left

    @property
    def is_spent(self) -> bool:
        return self.left < 0

    def take(self) -> bool:
        self.left -= 1
        return self.left >= 0


def find_candidates(
    forest: Forest,
    request: CandidateRequest,
    *,
    steps_max: int = STEPS_MAX,
    candidates_max: int = CANDIDATES_MAX,
) -> Candidates:
    """At most `request.limit` and `candidates_max`, each once."""
    most = candidates_max if request.limit is None else min(request.limit, candidates_max)
    sharing = forest.sharing()
    roots = [root for root in forest.roots() if request.root.lets(root.traits)]
    steps = [_Steps(max(TREE_STEPS_MIN, steps_max // len(roots))) for _ in roots]
    searches = [
        _in_tree(forest, root, sharing.get(root.root_id, ()), request, left)
        for root, left in zip(roots, steps, strict=True)
    ]
    found: list[AllocationRequest] = []
    seen: set[object] = set()
    while searches:
        going: list[Iterator[AllocationRequest]] = []
        for search in searches:
            candidate = next(search, None)
            if candidate is None:
                continue
            going.append(search)
            key = _key(candidate)
            if key in seen:
                continue
            if len(found) >= most:
                return Candidates(requests=tuple(found), is_whole=request.limit == most)
            seen.add(key)
            found.append(candidate)
        searches = going
    return Candidates(requests=tuple(found), is_whole=not any(left.is_spent for left in steps))


def _in_tree(
    forest: Forest, root: Provider, givers: Sequence[Provider], request: CandidateRequest, steps: _Steps
) -> Iterator[AllocationRequest]:
    tree = forest.tree(root.root_id)
    if not request.is_nested:
        tree, givers = (root,), [each for each in givers if each.parent_id is None]
    choices: list[tuple[GroupRequest, list[tuple[Provider, ...]]]] = []
    for group in _hardest_first(request.groups):
        if group.in_tree is not None:
            wanted = forest.get(group.in_tree)
            if wanted is None or wanted.root_id != root.root_id:
                return
        pool = tree if group.in_tree is not None else (*tree, *givers)
        options = _options(group, pool, root)
        if any(not each for each in options):
            return
        choices.append((group, options))
    yield from _complete(forest, request, choices, [], {}, steps)


def _hardest_first(groups: Sequence[GroupRequest]) -> list[GroupRequest]:
    """Numbered ones have fewest ways."""
    return sorted(groups, key=lambda group: (group.suffix == "", group.suffix))


def _options(group: GroupRequest, pool: Sequence[Provider], root: Provider) -> list[tuple[Provider, ...]]:
    """Of an unsuffixed group: for each class those that could give it. Of another: one list, of those that
    could serve all of it."""
    if group.suffix:
        return [tuple(each for each in pool if _serves(group, each))]
    fitting = [
        each for each in pool if _is_member(group, each, root) and not each.traits & group.traits.none_of
    ]
    return [
        tuple(each for each in fitting if each.gives(name, amount))
        for name, amount in sorted(group.resources.items())
    ]


def _serves(group: GroupRequest, provider: Provider) -> bool:
    return (
        group.traits.lets(provider.traits)
        and group.member_of.lets(provider.aggregates)
        and all(provider.gives(name, amount) for name, amount in group.resources.items())
    )


def _is_member(group: GroupRequest, provider: Provider, root: Provider) -> bool:
    """A root's aggregates are its whole tree's."""
    in_tree = provider.root_id == root.root_id
    spans = provider.aggregates | root.aggregates if in_tree else provider.aggregates
    return group.member_of.lets(spans)


def _complete(
    forest: Forest,
    request: CandidateRequest,
    choices: Sequence[tuple[GroupRequest, list[tuple[Provider, ...]]]],
    picked: list[_Pick],
    taken: Mapping[tuple[str, str], int],
    steps: _Steps,
) -> Iterator[AllocationRequest]:
    """All ways to serve the groups that are left, beside what is picked."""
    if len(picked) == len(choices):
        if _in_subtrees(forest, request, picked):
            yield _allocation_request(picked, taken)
        return
    group, options = choices[len(picked)]
    for pick in _picks(group, options, steps):
        if group.suffix and request.isolates and _is_shared(pick, picked):
            continue
        now = _taken(taken, pick)
        if now is not None:
            yield from _complete(forest, request, choices, [*picked, pick], now, steps)


def _picks(group: GroupRequest, options: Sequence[tuple[Provider, ...]], steps: _Steps) -> Iterator[_Pick]:
    if group.suffix:
        for provider in options[0]:
            if not steps.take():
                return
            parts = tuple((provider, name, amount) for name, amount in sorted(group.resources.items()))
            yield _Pick(group.suffix, parts, (provider,))
        return
    for chosen in _product(options, steps):
        traits = frozenset().union(*(each.traits for each in chosen))
        if all(traits & one_of for one_of in group.traits.any_of):
            wanted = sorted(group.resources.items())
            parts = tuple((each, name, amount) for each, (name, amount) in zip(chosen, wanted, strict=True))
            yield _Pick("", parts, chosen)


def _product(options: Sequence[tuple[Provider, ...]], steps: _Steps) -> Iterator[tuple[Provider, ...]]:
    """As itertools.product, which would make all pools first, and cannot be stopped within."""
    if not options:
        yield ()
        return
    for first in options[0]:
        if not steps.take():
            return
        for rest in _product(options[1:], steps):
            yield (first, *rest)


def _is_shared(pick: _Pick, picked: Sequence[_Pick]) -> bool:
    """Whether another numbered group has this one's provider."""
    mine = {each.provider_id for each in pick.providers}
    return any(each.provider_id in mine for other in picked if other.suffix for each in other.providers)


def _taken(taken: Mapping[tuple[str, str], int], pick: _Pick) -> dict[tuple[str, str], int] | None:
    """With the pick's parts; None when a provider has not so much for all groups together."""
    now = dict(taken)
    for provider, name, amount in pick.parts:
        key = (provider.provider_id, name)
        now[key] = now.get(key, 0) + amount
        inventory = provider.inventories[name]
        if now[key] > inventory.max_unit or now[key] > provider.free(name):
            return None
    return now


def _in_subtrees(forest: Forest, request: CandidateRequest, picked: Sequence[_Pick]) -> bool:
    for suffixes in request.same_subtree:
        ids = {each.provider_id for pick in picked if pick.suffix in suffixes for each in pick.providers}
        if ids and not set.intersection(*(set(forest.ancestors(each)) for each in ids)) & ids:
            return False
    return True


def _allocation_request(picked: Sequence[_Pick], taken: Mapping[tuple[str, str], int]) -> AllocationRequest:
    allocations: dict[str, dict[str, int]] = {}
    for provider_id, name in sorted(taken):
        allocations.setdefault(provider_id, {})[name] = taken[provider_id, name]
    mappings = {
        pick.suffix: tuple(sorted({each.provider_id for each in pick.providers}))
        for pick in sorted(picked, key=lambda pick: pick.suffix)
    }
    return AllocationRequest(allocations=allocations, mappings=mappings)


def _key(candidate: AllocationRequest) -> object:
    parts = tuple((provider_id, *sorted(held.items())) for provider_id, held in candidate.allocations.items())
    return parts, tuple(candidate.mappings.items())
