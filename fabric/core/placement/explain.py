"""Why a server went where it is, and why it did not go elsewhere: each filter's word on each host, what each
weigher gave, and for those who asked in vain what would have to be otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, product

import numpy as np

from fabric.core.placement.changes import Change
from fabric.core.placement.choose import Masks, choose, fitting, masks_of, passing, ranked
from fabric.core.placement.filters import Refusal
from fabric.core.placement.host_table import HostTable, Ints
from fabric.core.placement.policy import Policy
from fabric.core.placement.request import PlacementRequest
from fabric.core.placement.weigh import weigh

NEAREST = 8  # hosts for which changes are looked for
TRIED_MAX = 12  # combinations of changes for each of them
MORE_TRIED_MAX = 24  # of such as bring out that another filter refuses, too, and must have their own
HERE = 0  # the place of the host in question in a table of its own
ADMINS_WAYS = 2  # of each host
FOUND_MAX = 6  # changes that are told: of whoever asks; and of operators, as many


@dataclass(frozen=True, slots=True, kw_only=True)
class HostVerdict:
    """Of one host. `refusals`: every filter's that does not pass it, in the filters' order; `weights`: by
    weigher, of a host that passes, as they were added up."""

    host_name: str
    refusals: tuple[Refusal, ...] = ()
    weight: float | None = None
    weights: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counterfactual:
    """It would fit on `host_name`, if all of `changes` were so: that was tried."""

    host_name: str
    changes: tuple[Change, ...]

    @property
    def text(self) -> str:
        return f"would fit if {' and '.join(dict.fromkeys(change.text for change in self.changes))}"

    @property
    def is_admins(self) -> bool:
        """It names a host, or what one has."""
        return any(change.is_admins for change in self.changes)

    @property
    def effort(self) -> tuple[int, bool, bool]:
        """The least first: of whoever asks, of who can give a command, of who has to buy."""
        return len(self.changes), self.is_admins, any(change.is_more for change in self.changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """`verdicts`: those that pass first, the best of them first; then those with the fewest refusals.
    `chosen`: the first of them; None: nobody passes."""

    request: PlacementRequest
    chosen: str | None
    verdicts: tuple[HostVerdict, ...]
    counterfactuals: tuple[Counterfactual, ...] = ()


def explain(request: PlacementRequest, table: HostTable, policy: Policy) -> Explanation:
    masks = masks_of(request, table, policy)
    places = passing(masks, table)
    weights = weigh(request, table, policy, places)
    by_weigher = _by_weigher(request, table, policy, places)
    at = {int(place): number for number, place in enumerate(places)}
    best = ranked(request, table, places, weights)
    verdicts = [
        HostVerdict(
            host_name=table.hosts[place].host.name,
            weight=float(weights[at[place]]),
            weights={name: float(column[at[place]]) for name, column in by_weigher.items()},
        )
        for place in best
    ]
    refused = [place for place in range(len(table)) if place not in at]
    told = {place: refusals_at(request, table, masks, place) for place in refused}
    refused.sort(key=lambda place: (len(told[place]), _shortage(told[place]), place))
    verdicts += [
        HostVerdict(host_name=table.hosts[place].host.name, refusals=told[place]) for place in refused
    ]
    found = () if best else counterfactuals(request, table, policy, masks, refused[:NEAREST])
    chosen = table.hosts[best[0]].host.name if best else None
    return Explanation(request=request, chosen=chosen, verdicts=tuple(verdicts), counterfactuals=tuple(found))


def why_not(request: PlacementRequest, table: HostTable, policy: Policy, place: int) -> Explanation:
    """Of one host, and what would let it pass; `chosen` is whom the server would go to now."""
    masks = masks_of(request, table, policy)
    refusals = refusals_at(request, table, masks, place)
    choice = choose(request, table, policy)
    verdict = HostVerdict(host_name=table.hosts[place].host.name, refusals=refusals)
    if not refusals:
        places = passing(masks, table)
        at = int(np.searchsorted(places, place))
        weights = weigh(request, table, policy, places)
        named = {n: float(c[at]) for n, c in _by_weigher(request, table, policy, places).items()}
        verdict = HostVerdict(host_name=verdict.host_name, weight=float(weights[at]), weights=named)
    return Explanation(
        request=request,
        chosen=None if choice is None else table.hosts[table.place[choice.host_id]].host.name,
        verdicts=(verdict,),
        counterfactuals=tuple(counterfactuals(request, table, policy, masks, [place])) if refusals else (),
    )


# ---- verdicts


def refusals_at(request: PlacementRequest, table: HostTable, masks: Masks, place: int) -> tuple[Refusal, ...]:
    return tuple(each.refusal(request, table, place) for each, mask in masks if not mask[place])


def first_refusals(request: PlacementRequest, table: HostTable, masks: Masks) -> list[tuple[str, Refusal]]:
    """(host's name, what the first filter that refuses it says), of each host that is refused."""
    if not masks:
        return []
    passes = np.array([mask for _, mask in masks]).reshape(len(masks), len(table))
    refused = np.flatnonzero(~passes.all(axis=0))
    firsts = passes.argmin(axis=0)  # the first that says no
    return [
        (table.hosts[place].host.name, masks[firsts[place]][0].refusal(request, table, place))
        for place in refused.tolist()
    ]


def nearest(table: HostTable, masks: Masks, count: int) -> list[int]:
    """The places of that many hosts whom the fewest filters refuse."""
    refusing: Ints = np.zeros(len(table), dtype=np.int64)
    for _, mask in masks:
        refusing += ~mask
    return [int(place) for place in np.argsort(refusing, kind="stable")[:count]]


def _shortage(refusals: Sequence[Refusal]) -> float:
    """How much is missing, as parts of what is needed, over all that is counted."""
    return sum((each.needed - max(0, each.free or 0)) / each.needed for each in refusals if each.needed)


def _by_weigher(
    request: PlacementRequest,
    table: HostTable,
    policy: Policy,
    places: np.ndarray[tuple[int], np.dtype[np.int64]],
) -> dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    if not len(places):
        return {}
    return {
        weigher.name: weigh(request, table, Policy(policy.filters, ((weigher, multiplier),)), places)
        for weigher, multiplier in policy.weighers
    }


# ---- what would have to be otherwise


def counterfactuals(
    request: PlacementRequest, table: HostTable, policy: Policy, masks: Masks, places: Sequence[int]
) -> list[Counterfactual]:
    """For these hosts, the least changes first; those that whoever asks can make before an operator's. Each
    was tried: the core, run again with it, chooses a host. `masks`: of the request as it is."""
    found: dict[object, Counterfactual] = {}
    for place in places:
        own: list[Counterfactual] = []
        of_operators: list[Counterfactual] = []
        for way in _ways(request, table, policy, masks, place):
            (of_operators if way.is_admins else own).append(way)
            if own and len(of_operators) >= ADMINS_WAYS:
                break
        for way in (*own[:1], *of_operators[:ADMINS_WAYS]):  # whoever asks needs to know one way
            found.setdefault(_what(way), way)
    least = _without_needless(sorted(found.values(), key=lambda each: each.effort))
    told = []
    for is_admins in (False, True):
        some = [each for each in least if each.is_admins is is_admins][: 2 * FOUND_MAX]
        told += [each for each in some if _is_true(each, request, table, policy)][:FOUND_MAX]
    return sorted(told, key=lambda each: each.effort)


def _without_needless(found: Sequence[Counterfactual]) -> list[Counterfactual]:
    """None that asks for all that another asks for, and for more: some other host takes it for less."""
    kept: list[tuple[frozenset[str], Counterfactual]] = []
    for each in found:
        asked = frozenset(change.text for change in each.changes)
        if not any(less <= asked for less, _ in kept):
            kept.append((asked, each))
    return [each for _, each in kept]


def _what(each: Counterfactual) -> object:
    """What is to change, and not how far: of two flavors that would do, the nearer host's is told."""
    return tuple(
        (change.kind, change.subject, tuple(change.value) if isinstance(change.value, dict) else change.text)
        for change in each.changes
    )


def _ways(
    request: PlacementRequest, table: HostTable, policy: Policy, masks: Masks, place: int
) -> Iterator[Counterfactual]:
    """Changes that let the host take the server, as far as it alone is concerned; the fewest first. One cure
    for each filter that refuses; and where others refuse what is so cured, one for each of them. Each is
    tried when it is asked for: every server in vain asks."""
    name, small = table.hosts[place].host.name, _with_its_group(request, table, place)
    unfinished: list[tuple[Change, ...]] = []
    for changes in islice(_combinations(request, table, masks, place), TRIED_MAX):
        if _refuse(changes, request, small, policy):
            unfinished.append(changes)
        else:
            yield Counterfactual(host_name=name, changes=changes)
    more_tried = 0
    for changes in unfinished:
        changed = small.copy()
        wanted = _changed(changes, request, changed)
        for more in _combinations(wanted, changed, masks_of(wanted, changed, policy), HERE):
            more_tried += 1
            if more_tried > MORE_TRIED_MAX:
                return
            if not _refuse((*changes, *more), request, small, policy):
                yield Counterfactual(host_name=name, changes=(*changes, *more))
                break


def _combinations(
    request: PlacementRequest, table: HostTable, masks: Masks, place: int
) -> Iterator[tuple[Change, ...]]:
    """One cure for each filter that refuses the host, the first ones first."""
    refusing = [each for each, mask in masks if not mask[place]]
    cures = [tuple(each.cures(request, table, place)) for each in refusing]
    if all(cures):
        yield from product(*cures)


def _with_its_group(request: PlacementRequest, table: HostTable, place: int) -> HostTable:
    """A table of that host, which is HERE in it, and of those that its passing may depend on."""
    group = request.group
    others = set() if group is None else set(table.group_counts.get(group.group_id, {}))
    return table.of([place, *sorted(others - {place})])


def _refuse(changes: tuple[Change, ...], request: PlacementRequest, small: HostTable, policy: Policy) -> bool:
    """Whether some filter refuses it even so."""
    changed = small.copy()
    return HERE not in fitting(_changed(changes, request, changed), changed, policy)


def _is_true(each: Counterfactual, request: PlacementRequest, table: HostTable, policy: Policy) -> bool:
    """Among all hosts."""
    whole = table.copy() if each.is_admins else table  # a change of the request writes to none
    return choose(_changed(each.changes, request, whole), whole, policy) is not None


def _changed(changes: tuple[Change, ...], request: PlacementRequest, table: HostTable) -> PlacementRequest:
    for change in changes:
        request = change.edit(request)
        change.rebuild(table)
    return request
