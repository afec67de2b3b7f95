"""The table's columns are as good as its hosts' facts, whatever changed them; copies share nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fabric.core.placement.choose import choose, claim, fitting, masks_of, ranked
from fabric.core.placement.explain import first_refusals, nearest
from fabric.core.placement.host_facts import Surroundings
from fabric.core.placement.host_table import HostTable
from fabric.core.placement.inventory import Inventory
from fabric.core.placement.policy import Policy, policy_of
from fabric.core.placement.settings import PlacementSettings
from fabric.core.placement.weigh import weigh
from fabric.core.server_groups.model import GroupPolicy
from tests.fixtures.placement_rows import aggregate, facts, group, members, request, table

POLICY = policy_of(PlacementSettings())
A, B, C = (facts(name, vcpus=8, memory_mb=8_192, disk_gb=80) for name in ("a", "b", "c"))


def names(hosts: HostTable, asked: Any) -> list[str]:
    return [hosts.hosts[place].host.name for place in fitting(asked, hosts, POLICY)]


def arrays(value: Any) -> list[np.ndarray[Any, Any]]:
    """All that a table's field holds."""
    if isinstance(value, np.ndarray):
        return [value]
    if isinstance(value, dict):
        return [found for each in value.values() for found in arrays(each)]
    if isinstance(value, tuple | list):
        return [found for each in value for found in arrays(each)]
    return []


def a_used_table() -> HostTable:
    """With columns of every kind that requests make."""
    rack = aggregate("rack", [A, B], ssd="true", filter_tenant_id="other", cpu_weight_multiplier="2")
    hosts = table(A, B, C, aggregates=(rack,), group_hosts=members(a=1), server_hosts={"s1": A.host.host_id})
    choose(request(specs={"resources:CUSTOM_GPU": "1"}), hosts, POLICY)
    choose(request(specs={"aggregate_instance_extra_specs:ssd": "true"}), hosts, POLICY)
    choose(request(zone="nova", host_name="c"), hosts, POLICY)
    return hosts


def test_a_copy_shares_no_number_and_no_book_with_the_table() -> None:
    hosts = a_used_table()
    copied = hosts.copy()
    assert vars(copied).keys() == vars(hosts).keys()
    fixed = {"_with_key", "place", "hashes"}  # made once, and never changed
    for name, value in vars(hosts).items():
        if name in fixed:
            continue
        for mine in arrays(value):
            is_shared = any(np.shares_memory(mine, other) for other in arrays(vars(copied)[name]))
            assert not (is_shared and mine.flags.writeable), name
        if isinstance(value, dict | list):
            assert vars(copied)[name] is not value, name


def test_a_claim_in_a_copy_leaves_the_table_as_it_was() -> None:
    hosts = a_used_table()
    copied = hosts.copy()
    asked = request(group=group(GroupPolicy.SOFT_AFFINITY))
    claim(asked, A.host.host_id, copied)
    assert hosts.group_counts == {"group-1": {0: 1}}
    assert copied.group_counts == {"group-1": {0: 2}}
    assert hosts.free["VCPU"][0] == copied.free["VCPU"][0] + 1
    assert (hosts.hosts[0].servers, copied.hosts[0].servers) == (0, 1)


def test_a_part_of_the_table_decides_as_a_table_of_those_hosts() -> None:
    around = Surroundings(
        aggregates=(aggregate("rack", [A, C], ssd="true", availability_zone="z"),),
        group_hosts=members(c=1),
        server_hosts={"s1": C.host.host_id},  # type: ignore[dict-item]
    )
    some = HostTable([A, B, C], around)
    asked = [
        request(zone="z"),
        request(zone="nova"),
        request(specs={"aggregate_instance_extra_specs:ssd": "true"}),
        request(hints={"same_host": "s1"}),
    ]
    before = [choose(each, some, POLICY) for each in asked]
    part, fresh = some.of([2, 1]), HostTable([C, B], around)
    assert [choose(each, part, POLICY) for each in asked] == [choose(each, fresh, POLICY) for each in asked]
    assert part.group_counts == fresh.group_counts
    assert part.server_places == fresh.server_places
    assert [choose(each, some, POLICY) for each in asked] == before


def test_other_aggregates_of_a_copy_are_not_the_tables() -> None:
    hosts = table(A, B, aggregates=(aggregate("rack", [A], availability_zone="z"),))
    copied = hosts.copy()
    assert names(copied, request(zone="z")) == ["a"]
    copied.surround(Surroundings(aggregates=(aggregate("rack", [B], availability_zone="z"),)))
    assert names(copied, request(zone="z")) == ["b"]
    assert names(hosts, request(zone="z")) == ["a"]


def test_news_of_a_host_keep_its_zone_after_aggregates_changed_in_a_copy() -> None:
    hosts = table(A, B, aggregates=(aggregate("rack", [A], availability_zone="z"),))
    assert names(hosts, request(zone="z")) == ["a"]
    copied = hosts.copy()
    hosts.surround(Surroundings())
    copied.put(replace(A, servers=3))
    assert names(copied, request(zone="z")) == ["a"]


@pytest.mark.parametrize("limit", ["<= 1", "== 1"])
def test_what_a_claim_changes_counts_for_the_next_request(limit: str) -> None:
    hosts = table(facts("a", servers=1), facts("b", servers=1, vcpus=1))
    asked = request(specs={"capabilities:num_instances": limit})
    assert names(hosts, asked) == ["a", "b"]
    claim(asked, hosts.hosts[0].host.host_id, hosts)
    assert names(hosts, asked) == ["b"]


def test_multipliers_and_projects_of_aggregates_follow_them() -> None:
    open_, closed = Surroundings(), Surroundings(aggregates=(aggregate("x", [A], filter_tenant_id="other"),))
    hosts = HostTable([A, B], closed)
    assert names(hosts, request()) == ["b"]
    hosts.surround(open_)
    assert names(hosts, request()) == ["a", "b"]
    hosts.surround(closed)
    assert names(hosts, request()) == ["b"]


def test_a_host_of_several_closed_aggregates_is_for_the_projects_of_all() -> None:
    ours = request().project_id
    hosts = table(
        A,
        B,
        aggregates=(
            aggregate("x", [A, B], filter_tenant_id="other"),
            aggregate("y", [A], filter_tenant_id=ours),
        ),
    )
    assert names(hosts, request()) == ["a"]


@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_the_next_best_are_the_head_of_all_in_order(count: int) -> None:
    """Many hosts weigh the same: the bound cuts through a tie."""
    hosts = table(*(facts(f"h{number}", io_ops=number % 3, memory_mb=8_192) for number in range(30)))
    asked = request()
    places = fitting(asked, hosts, POLICY)
    order = ranked(asked, hosts, places, weigh(asked, hosts, POLICY, places))
    choice = choose(asked, hosts, POLICY, alternates=count)
    assert choice is not None
    expected = [hosts.hosts[place].host.host_id for place in order[: count + 1]]
    assert [choice.host_id, *choice.alternates] == expected


def test_a_class_that_a_host_offers_is_found_by_name() -> None:
    offered = facts("a", offered={"CUSTOM_GPU": Inventory(total=2), "VCPU": Inventory(total=99)})
    gpu, vcpus = offered.inventory("CUSTOM_GPU"), offered.inventory("VCPU")
    assert gpu is not None
    assert gpu.total == 2
    assert vcpus is not None
    assert vcpus.total == offered.host.vcpus, "its own classes are of its row"
    assert offered.inventory("CUSTOM_NPU") is None


def test_the_nearest_are_those_whom_the_fewest_filters_refuse_and_each_names_the_first() -> None:
    hosts = table(
        facts("worst", vcpus=1, memory_mb=1, enabled=False),
        facts("best", vcpus=1),
        facts("middle", vcpus=1, memory_mb=1),
    )
    asked = request(size={"vcpus": 4})
    assert nearest(hosts, masks_of(asked, hosts, POLICY), 2) == [1, 2]
    said = [
        (name, refusal.filter_name)
        for name, refusal in first_refusals(asked, hosts, masks_of(asked, hosts, POLICY))
    ]
    assert said == [("worst", "ComputeFilter"), ("best", "CoreFilter"), ("middle", "RamFilter")]
    assert first_refusals(asked, hosts, masks_of(asked, hosts, Policy((), ()))) == []
