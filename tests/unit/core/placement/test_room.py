"""How many more fit: the arithmetic agrees with placing them one after the other."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.core.placement.choose import choose, claim
from fabric.core.placement.host_facts import HostFacts
from fabric.core.placement.host_table import HostTable
from fabric.core.placement.inventory import Inventory
from fabric.core.placement.policy import policy_of
from fabric.core.placement.request import PlacementRequest
from fabric.core.placement.room import UNBOUNDED, how_many_more
from fabric.core.placement.settings import PlacementSettings
from fabric.core.placement.usage import together, usage_of
from fabric.core.server_groups.model import GroupPolicy
from tests.fixtures.placement_rows import aggregate, facts, group, members, request, table

POLICY = policy_of(PlacementSettings())


def one_by_one(asked: PlacementRequest, hosts: HostTable) -> dict[str, int]:
    """Slow and right: choose, claim, until nobody takes it."""
    hosts, found = hosts.copy(), {}
    while (choice := choose(asked, hosts, POLICY)) is not None:
        claim(asked, choice.host_id, hosts)
        found[choice.host_id] = found.get(choice.host_id, 0) + 1
    return dict(found)


HOSTS = st.lists(
    st.builds(
        lambda vcpus, memory, disk, enabled: {
            "used": {"VCPU": vcpus, "MEMORY_MB": memory, "DISK_GB": disk},
            "enabled": enabled,
        },
        st.integers(0, 9),
        st.integers(0, 8_192),
        st.integers(0, 60),
        st.booleans(),
    ),
    max_size=4,
)


@given(HOSTS, st.integers(0, 9), st.sampled_from([0, 512, 700, 5_000]), st.integers(0, 9), st.integers(1, 5))
def test_it_is_as_if_they_were_placed_one_after_the_other(
    given_hosts: list[dict[str, object]], vcpus: int, memory_mb: int, root_gb: int, most: int
) -> None:
    found = [facts(f"h{number}", **changes) for number, changes in enumerate(given_hosts)]
    limited = aggregate("limited", found[:2], max_instances_per_host=str(most))
    hosts = table(*found, aggregates=(limited,) if found else ())
    asked = request(size={"vcpus": max(1, vcpus), "memory_mb": memory_mb, "root_gb": root_gb})
    assert how_many_more(asked, hosts, POLICY) == one_by_one(asked, hosts)


def test_other_classes_count() -> None:
    gpus = {"VGPU": Inventory(total=5, reserved=1, max_unit=2)}
    hosts = table(facts("a", offered=gpus), facts("b"))
    asked = request(specs={"resources:VGPU": "2"})
    assert how_many_more(asked, hosts, POLICY) == one_by_one(asked, hosts) == {facts("a").host.host_id: 2}


def test_servers_in_the_making_and_the_group_do_not_count() -> None:
    busy = facts("a", io_ops=3, used={"VCPU": 6})
    around = {
        "aggregates": (aggregate("slow", [busy], max_io_ops_per_host="1"),),
        "group_hosts": members(a=1),
    }
    asked = request(group=group(GroupPolicy.ANTI_AFFINITY))
    hosts = table(busy, **around)
    assert how_many_more(asked, hosts, POLICY) == {busy.host.host_id: 2}
    assert hosts.io_ops[0] == 3, "the table given was written to"


def test_what_takes_nothing_is_not_counted_for_ever() -> None:
    asked = request(size={"vcpus": 0, "memory_mb": 0, "root_gb": 0})
    assert how_many_more(asked, table(facts("a")), POLICY) == {facts("a").host.host_id: UNBOUNDED}


def test_usage_counts_as_filters_do() -> None:
    one = facts("a", used={"VCPU": 3, "MEMORY_MB": 512}, reserved_memory_mb=1_000)
    usage = usage_of(one)["MEMORY_MB"]
    assert (usage.reserved, usage.used, usage.free) == (1_000, 512, int(table(one).free["MEMORY_MB"][0]))
    assert usage.ratio == pytest.approx(1.0 if one.host.memory_ratio_milli == 1_000 else usage.ratio)
    both = together([usage_of(one), usage_of(facts("b"))])
    assert both["VCPU"].used == 3
    assert both["VCPU"].capacity == 2 * usage_of(one)["VCPU"].capacity


def test_a_copied_table_shares_nothing_that_changes() -> None:
    first, second = facts("a"), facts("b")
    hosts = table(first, second, aggregates=(aggregate("x", [first], ssd="true"),), group_hosts=members(a=1))
    asked = request(group=group(GroupPolicy.ANTI_AFFINITY), specs={"trait:X": "required"})
    choose(asked, hosts, POLICY)  # makes columns
    copied = hosts.copy()
    claim(asked, first.host.host_id, copied)
    copied.put(replace(second, traits=frozenset({"X"}), used={"VCPU": 1}))
    assert hosts.group_counts == table(first, second, group_hosts=members(a=1)).group_counts
    assert hosts.hosts == [first, second]
    assert list(hosts.free["VCPU"]) == list(table(first, second).free["VCPU"])
    assert choose(asked, hosts, POLICY) is None
    assert choose(asked, copied, POLICY) is not None


def test_what_is_released_is_as_if_it_had_never_been_there() -> None:
    asked = request(group=group(GroupPolicy.ANTI_AFFINITY))
    one: HostFacts = facts("a")
    hosts, before = table(one), table(one)
    claim(asked, one.host.host_id, hosts)
    assert choose(asked, hosts, POLICY) is None
    hosts.release(
        one.host.host_id,
        asked.resources.total(),
        server_id=asked.server_id,
        group_id=group(GroupPolicy.AFFINITY).group_id,
    )
    assert choose(asked, hosts, POLICY) is not None
    assert (hosts.server_places, list(hosts.free["VCPU"])) == ({}, list(before.free["VCPU"]))
