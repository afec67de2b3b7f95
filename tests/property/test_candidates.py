"""Allocation candidates against a slow, obvious twin: try every way to serve every group, keep those that
break no rule."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.core.placement.inventory import Inventory
from fabric.core.providers.candidates import find_candidates
from fabric.core.providers.model import ProviderRows
from fabric.core.providers.names import SHARES
from fabric.core.providers.request import AllocationRequest, CandidateRequest, GroupRequest, MemberOf, Traits
from fabric.core.providers.tree import Forest, Provider
from tests.fixtures.provider_rows import outside

CLASSES, TRAITS, AGGREGATES = ("A", "B"), ("T1", "T2", SHARES), ("g1", "g2")
T = TypeVar("T")
Way = tuple[tuple[str, tuple[tuple[str, str], ...], tuple[str, ...]], ...]


def some(values: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(values), max_size=2, unique=True).map(lambda found: tuple(sorted(found)))


def rarely(strategy: st.SearchStrategy[T], nothing: T) -> st.SearchStrategy[T]:
    """Most requests must find something, or the twins agree on nothing."""
    return st.sampled_from(range(6)).flatmap(lambda n: strategy if n == 5 else st.just(nothing))


def sets(values: tuple[str, ...]) -> st.SearchStrategy[tuple[frozenset[str], ...]]:
    one = st.frozensets(st.sampled_from(values), min_size=1, max_size=2)
    return rarely(one.map(lambda found: (found,)), ())


def one_of(values: tuple[str, ...]) -> st.SearchStrategy[frozenset[str]]:
    return rarely(st.sampled_from(values).map(lambda found: frozenset({found})), frozenset())


inventories = st.builds(
    Inventory,
    total=st.integers(2, 6),
    reserved=st.integers(0, 1),
    min_unit=rarely(st.just(2), 1),
    max_unit=st.integers(2, 6),
    step_size=rarely(st.just(2), 1),
    ratio_milli=st.sampled_from((1_000, 1_500)),
)


@st.composite
def rows(draw: st.DrawFn) -> ProviderRows:
    providers = []
    for number in range(draw(st.integers(1, 4))):
        above = [f"p{n}" for n in range(number)]
        parent = draw(st.sampled_from([None, *above]))
        has = draw(st.dictionaries(st.sampled_from(CLASSES), inventories, min_size=1, max_size=2))
        traits, aggregates = draw(some(TRAITS)), draw(some(AGGREGATES))
        providers.append(outside(f"p{number}", has, parent=parent, traits=traits, aggregates=aggregates))
    used = {each.provider_id: draw(st.fixed_dictionaries(
        {name: st.integers(0, 1) for name in each.inventories})) for each in providers}  # fmt: skip
    return ProviderRows(outside=tuple(providers), used=used)


@st.composite
def group(draw: st.DrawFn, suffix: str, has_resources: bool) -> GroupRequest:
    amounts = st.dictionaries(st.sampled_from(CLASSES), st.integers(1, 2), min_size=1, max_size=2)
    in_tree = draw(rarely(st.sampled_from(("p0", "p1", "p9")), None))
    any_of, none_of = draw(sets(TRAITS)), draw(one_of(TRAITS[:2]))
    member_any = draw(sets(AGGREGATES))
    member_none = draw(one_of(AGGREGATES))
    return GroupRequest(
        suffix=suffix,
        resources=draw(amounts) if has_resources else {},
        traits=Traits(any_of=any_of, none_of=none_of),
        member_of=MemberOf(any_of=member_any, none_of=member_none),
        in_tree=in_tree,
    )


@st.composite
def requests(draw: st.DrawFn) -> CandidateRequest:
    suffixes = draw(st.lists(st.sampled_from(("", "1", "_X")), min_size=1, max_size=2, unique=True))
    groups = [draw(group(suffix, True)) for suffix in suffixes]
    subtree: tuple[frozenset[str], ...] = ()
    numbered = frozenset(suffixes) - {""}
    wants_subtree: bool = draw(st.booleans())
    wants_more: bool = draw(st.booleans())
    if numbered and wants_subtree:
        subtree = (numbered,)
        if wants_more:
            groups.append(draw(group("_R", False)))
            subtree = (numbered | {"_R"},)
    return CandidateRequest(
        groups=tuple(groups),
        isolates=draw(rarely(st.just(True), False)),
        same_subtree=subtree,
        root=Traits(any_of=draw(sets(TRAITS[:2])), none_of=draw(one_of(TRAITS[:2]))),
        is_nested=draw(st.sampled_from((True, True, False))),
    )


def twin(forest: Forest, request: CandidateRequest) -> set[Way]:
    providers = list(forest)
    found: set[Way] = set()
    for root in providers:
        if root.parent_id is not None or not request.root.lets(root.traits):
            continue
        slots = [(each, name) for each in request.groups for name in (sorted(each.resources) or [""])]
        for chosen in itertools.product(providers, repeat=len(slots)):
            picks = list(zip(slots, chosen, strict=True))
            if breaks_no_rule(forest, providers, root, request, picks):
                found.add(way(picks))
    return found


Picks = list[tuple[tuple[GroupRequest, str], Provider]]


def breaks_no_rule(
    forest: Forest, providers: list[Provider], root: Provider, request: CandidateRequest, picks: Picks
) -> bool:
    total: Counter[tuple[str, str]] = Counter()
    for (wanted, name), giver in picks:
        mine = giver.root_id == root.provider_id
        if not request.is_nested and giver.parent_id is not None:
            return False
        if not mine and not shares_with(providers, giver, root):
            return False
        if wanted.in_tree is not None:
            named = forest.get(wanted.in_tree)
            if named is None or named.root_id != root.provider_id or not mine:
                return False
        aggregates = giver.aggregates
        if not wanted.suffix and mine:
            aggregates = aggregates | root.aggregates
        if not wanted.member_of.lets(aggregates) or giver.traits & wanted.traits.none_of:
            return False
        if name:
            amount = wanted.resources[name]
            has = giver.inventories.get(name)
            if has is None or not has.min_unit <= amount <= has.max_unit or amount % has.step_size:
                return False
            total[giver.provider_id, name] += amount
    for (provider_id, name), amount in total.items():
        provider = forest.get(provider_id)
        assert provider is not None
        has = provider.inventories[name]
        if amount > has.max_unit or provider.used.get(name, 0) + amount > has.capacity:
            return False
    return groups_are_served(request, picks) and subtrees_hold(forest, request, picks)


def shares_with(providers: list[Provider], giver: Provider, root: Provider) -> bool:
    return SHARES in giver.traits and any(
        giver.aggregates & each.aggregates for each in providers if each.root_id == root.provider_id
    )


def groups_are_served(request: CandidateRequest, picks: Picks) -> bool:
    used_by: dict[str, set[str]] = {}
    for wanted in request.groups:
        givers = [giver for (each, _), giver in picks if each is wanted]
        ids = {giver.provider_id for giver in givers}
        if wanted.suffix and len(ids) != 1:
            return False
        traits = frozenset().union(*(giver.traits for giver in givers))
        if not all(traits & one_of for one_of in wanted.traits.any_of):
            return False
        if wanted.suffix:
            used_by[wanted.suffix] = ids
    if request.isolates:
        return len(set().union(*used_by.values())) == len(used_by) if used_by else True
    return True


def subtrees_hold(forest: Forest, request: CandidateRequest, picks: Picks) -> bool:
    for suffixes in request.same_subtree:
        ids = {giver.provider_id for (each, _), giver in picks if each.suffix in suffixes}
        if ids and not any(all(top in forest.ancestors(each) for each in ids) for top in ids):
            return False
    return True


def way(picks: Picks) -> Way:
    return as_way(picks_as_request(picks))


def picks_as_request(picks: Picks) -> AllocationRequest:
    allocations: dict[str, Counter[str]] = {}
    mappings: dict[str, set[str]] = {}
    for (wanted, name), giver in picks:
        mappings.setdefault(wanted.suffix, set()).add(giver.provider_id)
        if name:
            allocations.setdefault(giver.provider_id, Counter())[name] += wanted.resources[name]
    shown = {suffix: tuple(sorted(ids)) for suffix, ids in mappings.items()}
    return AllocationRequest(allocations=allocations, mappings=shown)


def as_way(request: AllocationRequest) -> Way:
    held = tuple((each, tuple(sorted((n, str(a)) for n, a in request.allocations[each].items())), ())
                 for each in sorted(request.allocations))  # fmt: skip
    return held + tuple((suffix, (), request.mappings[suffix]) for suffix in sorted(request.mappings))


@given(rows(), requests())
@settings(max_examples=300, deadline=None)
def test_candidates_are_those_the_twin_finds(rows: ProviderRows, request: CandidateRequest) -> None:
    forest = Forest(rows)
    found = find_candidates(forest, request, steps_max=1_000_000, candidates_max=1_000_000)
    ways = [as_way(each) for each in found.requests]
    assert found.is_whole
    assert len(set(ways)) == len(ways)
    assert set(ways) == twin(forest, request)


@given(rows(), requests(), st.integers(1, 3), st.integers(1, 40))
@settings(max_examples=80, deadline=None)
def test_a_bounded_search_gives_some_of_them_and_says_so(
    rows: ProviderRows, request: CandidateRequest, most: int, steps: int
) -> None:
    forest = Forest(rows)
    every = list(whole(forest, request))
    found = find_candidates(forest, request, steps_max=steps, candidates_max=most)
    assert len(found.requests) <= most
    assert {as_way(each) for each in found.requests} <= set(every)
    if found.is_whole:
        assert len(found.requests) == len(every)


def whole(forest: Forest, request: CandidateRequest) -> Iterator[Way]:
    for each in find_candidates(forest, request, steps_max=1_000_000, candidates_max=1_000_000).requests:
        yield as_way(each)
