"""How many more servers of one kind fit, and where: capacity in the unit that people ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fabric.core.placement.choose import fitting
from fabric.core.placement.host_facts import HostFacts
from fabric.core.placement.host_table import HostTable
from fabric.core.placement.policy import Policy
from fabric.core.placement.request import PlacementRequest
from fabric.core.placement.usage import inventories_of
from fabric.core.topology.give import give
from fabric.core.topology.model import Grant
from proto.ids import NodeId, ServerId

UNBOUNDED = 1_000  # of a server that takes nothing, this many are told


def how_many_more(request: PlacementRequest, table: HostTable, policy: Policy) -> dict[NodeId, int]:
    """Of each host that would take one: how many it would take, one after the other.

    By arithmetic first, then the filters' word on the last of them; where that is no (a limit on servers a
    host, say), by halving. Servers in the making do not count, for they are made some day; nor does the
    request's group, for these need not be its members.
    """
    asked = replace(request, group=None)
    needs = {name: amount for name, amount in asked.resources.total().items() if amount > 0}
    settled = table.copy()
    for facts in table.hosts:
        if facts.io_ops:
            settled.put(replace(facts, io_ops=0))
    low = {int(place): 1 for place in fitting(asked, settled, policy)}
    high = {place: max(1, _by_arithmetic(settled.hosts[place], needs)) for place in low}
    grants = {place: _grants(settled.hosts[place], asked, most) for place, most in high.items()}
    if asked.topology is not None:
        high = {place: min(high[place], max(1, len(given))) for place, given in grants.items()}
    middle = dict(high)
    tried = settled.copy()
    while middle:
        for place, count in middle.items():
            tried.put(_with(settled.hosts[place], needs, grants[place][: count - 1], count - 1))
        passing = {int(place) for place in fitting(asked, tried, policy)}
        for place, count in middle.items():
            if place in passing:
                low[place] = count
            else:
                high[place] = count - 1
        middle = {place: (low[place] + high[place] + 1) // 2 for place in low if low[place] < high[place]}
    return {table.hosts[place].host.host_id: count for place, count in low.items()}


def _by_arithmetic(facts: HostFacts, needs: Mapping[str, int]) -> int:
    offered = inventories_of(facts)
    counts = [
        (offered[name].capacity - facts.used.get(name, 0)) // amount
        for name, amount in needs.items()
        if name in offered
    ]
    return min(counts, default=UNBOUNDED)


def _grants(facts: HostFacts, asked: PlacementRequest, most: int) -> list[Grant]:
    """What the first of them would be given of cells and devices, one after the other, and the second, as
    long as there is something; `most` at most."""
    found: list[Grant] = []
    if asked.topology is None:
        return found
    with_others = facts
    for number in range(most):
        grant = give(with_others.room, asked.topology)
        if grant is None:
            break
        found.append(grant)
        with_others = with_others.with_claim(
            asked.resources.total(), server_id=ServerId(f"one more, {number}"), grant=grant
        )
    return found


def _with(facts: HostFacts, needs: Mapping[str, int], grants: Sequence[Grant], count: int) -> HostFacts:
    """With so many of them there, all of them made."""
    held = {ServerId(f"one more, {number}"): grant for number, grant in enumerate(grants) if grant}
    used = {**facts.used}
    for name, amount in needs.items():
        used[name] = used.get(name, 0) + amount * count
    return replace(facts, used=used, servers=facts.servers + count, held={**facts.held, **held})
