"""Weighers that are asked together weigh what each would alone, to the last bit, in whatever order a policy
has them; figures are what facts say, in a table, in its copies and in parts of it."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.core.placement.choose import claim, fitting
from fabric.core.placement.host_facts import AggregateFacts
from fabric.core.placement.host_table import FIGURES, OWN_CLASSES, HostTable
from fabric.core.placement.inventory import Inventory
from fabric.core.placement.policy import Policy, policy_of
from fabric.core.placement.request import PlacementRequest
from fabric.core.placement.settings import PlacementSettings
from fabric.core.placement.weigh import weigh
from fabric.core.placement.weighers import WEIGHERS
from fabric.core.topology.facts import NOTHING_TOLD
from tests.fixtures.placement_rows import told
from tests.property.test_placement import Drawn

POLICY = policy_of(PlacementSettings())
MULTIPLIERS = (1.0, -1.0, 0.01, 2.5, -1_000_000.0)


def drawn_policy(rng: Random) -> Policy:
    names = rng.sample(sorted(WEIGHERS), rng.randint(1, len(WEIGHERS)))
    of = PlacementSettings(metric_weights={"heat": -1.0})
    return Policy((), tuple((WEIGHERS[name](of), rng.choice(MULTIPLIERS)) for name in names))


def drawn_table(rng: Random, drawn: Drawn) -> HostTable:
    drawn.hosts = [
        replace(
            each,
            host=replace(each.host, hypervisor_version=rng.choice((7_000_000, 8_000_000))),
            servers=rng.randrange(5),
            told=told(gpu=rng.randrange(3)) if rng.random() < 0.3 else NOTHING_TOLD,
            metrics={"heat": rng.random()} if rng.random() < 0.8 else {},
        )
        for each in drawn.hosts
    ]
    if rng.random() < 0.3:
        ids = frozenset(each.host.host_id for each in drawn.hosts if rng.random() < 0.5)
        metadata = {"cpu_weight_multiplier": rng.choice(("-3", "0.5", "heavy"))}
        drawn.aggregates.append(AggregateFacts(aggregate_id=99, name="odd", metadata=metadata, host_ids=ids))
    return drawn.table()


def one_by_one(request: PlacementRequest, table: HostTable, policy: Policy, places: list[int]) -> list[float]:
    total = [0.0] * len(places)
    for weigher, multiplier in policy.weighers:
        column = weigher.column(request, table)
        if column is None or len(places) < 2:
            continue
        least, most = weigher.minval, weigher.maxval
        held = [float(column[place]) for place in places]
        held = [value if least is None else max(value, least) for value in held]
        held = [value if most is None else min(value, most) for value in held]
        low = min(held) if least is None else least
        high = max(held) if most is None else most
        for at, value in enumerate(held):
            stretched = (value - low) / (high - low) if high > low else 0.0
            total[at] += stretched * _multiplier(table, places[at], weigher.setting, multiplier)
    return total


def _multiplier(table: HostTable, place: int, setting: str, default: float) -> float:
    host_id = table.hosts[place].host.host_id
    said = [
        float(each.metadata[setting])
        for each in table.around.aggregates
        if host_id in each.host_ids and each.metadata.get(setting, "heavy") != "heavy"
    ]
    return min(said, default=default)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 1 << 32))
def test_weighers_asked_together_weigh_what_each_would_alone(seed: int) -> None:
    rng = Random(seed)
    drawn = Drawn(seed, hosts_max=12)
    table, policy = drawn_table(rng, drawn), drawn_policy(rng)
    for number in range(4):
        asked = drawn.request(number)
        for places in (fitting(asked, table, POLICY), np.arange(len(table))):
            together = list(weigh(asked, table, policy, places))
            assert together == one_by_one(asked, table, policy, places.tolist()), policy
        if len(table):
            claim(asked, rng.choice(table.hosts).host.host_id, table)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 1 << 32))
def test_what_is_free_of_a_host_is_what_its_inventories_leave(seed: int) -> None:
    rng = Random(seed)
    drawn = Drawn(seed)
    table = drawn_table(rng, drawn)
    table.room_of("CUSTOM_GPU")
    for each in drawn.hosts:
        table.put(replace(each, used={"VCPU": rng.randrange(99), "MEMORY_MB": rng.randrange(9_999)}))
    for at in (table, HostTable(table.hosts, table.around)):
        for name in (*OWN_CLASSES, "CUSTOM_GPU"):
            room = at.room_of(name)
            for place, facts in enumerate(at.hosts):
                has, used = facts.inventory(name) or Inventory(total=0), facts.used.get(name, 0)
                assert at.free[name][place] == has.capacity - used
                assert room[place] == min(has.capacity - used, has.max_unit)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1 << 32))
def test_figures_follow_facts_and_are_shared_with_nobody(seed: int) -> None:
    rng = Random(seed)
    drawn = Drawn(seed)
    table = drawn_table(rng, drawn)
    if not len(table):
        return
    before = HostTable(table.hosts, table.around)
    copied, part = table.copy(), table.of(range(0, len(table), 2))
    claim(drawn.request(0), rng.choice(table.hosts).host.host_id, table)
    table.put(replace(table.hosts[0], build_failures=7, io_ops=3, servers=9))
    fresh = HostTable(table.hosts, table.around)
    assert np.array_equal(table.figures, fresh.figures)
    assert np.array_equal(copied.figures, before.figures)
    assert np.array_equal(part.figures, before.figures[:, ::2])
    for each in (table, copied, part):
        named = {
            **each.free,
            "io_ops": each.io_ops,
            "build_failures": each.build_failures,
            "version": each.version,
            "servers": each.servers,
        }
        assert all(np.shares_memory(named[name], each.figures[at]) for at, name in enumerate(FIGURES))
