"""Each filter: one host in, one host out, the words for it, and that the first cure it names is one."""

from __future__ import annotations

from typing import Any

import pytest

from fabric.core.membership.model import MemberState
from fabric.core.placement.changes import Change
from fabric.core.placement.choose import fitting
from fabric.core.placement.explain import refusals_at
from fabric.core.placement.filters import ALWAYS, DEFAULT_FILTERS, FILTERS
from fabric.core.placement.host_table import HostTable
from fabric.core.placement.inventory import Inventory
from fabric.core.placement.policy import Policy
from fabric.core.placement.request import PlacementRequest
from fabric.core.placement.settings import PlacementSettings
from fabric.core.server_groups.model import GroupPolicy
from proto.ids import ImageId
from tests.fixtures.compute_rows import uuid_of
from tests.fixtures.placement_rows import aggregate, cell, facts, group, members, request, table, told

GOOD, BAD = facts("good"), facts("bad")
SETTINGS = PlacementSettings(
    max_io_ops_per_host=2,
    max_instances_per_host=3,
    isolated_hosts=frozenset({"bad"}),
    isolated_images=frozenset({ImageId("private")}),
    metric_weights={"cpu.percent": -1.0, "cpu.frequency": 0.1},
)
NEUTRAL = [name for name in DEFAULT_FILTERS if name not in ("IsolatedHostsFilter", "MetricsFilter")]
PROJECT = request().project_id
CELLS = (cell(0, 4, 4_096), cell(1, 2, 2_048, dedicated=4))


def one(good: Any = GOOD, bad: Any = BAD, **around: Any) -> HostTable:
    return table(good, bad, **around)


def grouped(key: str, good: str, bad: str | None = None) -> HostTable:
    """Two hosts in an aggregate each."""
    said = {key: good}
    aggregates = [aggregate("for-good", [GOOD], **said)]
    if bad is not None:
        aggregates.append(aggregate("for-bad", [BAD], **{key: bad}))
    return one(aggregates=tuple(aggregates))


# name of the filter, what is asked, hosts ("good" passes, "bad" does not), what is said of the bad one
CASES: list[tuple[str, PlacementRequest, HostTable, str]] = [
    ("RequestedHost", request(host_name="good"), one(), "is not good"),
    ("RequestedHost", request(ignored_hosts=frozenset({BAD.host.host_id})), one(), "was tried before"),
    (
        "AvailabilityZoneFilter",
        request(zone="az1"),
        one(facts("good", zone="az1")),
        "is in zone nova, not az1",
    ),
    (
        "AvailabilityZoneFilter",
        request(zone="az1"),
        grouped("availability_zone", "az1"),
        "is in zone nova, not az1",
    ),
    ("ComputeFilter", request(), one(bad=facts("bad", enabled=False)), "is disabled"),
    (
        "ComputeFilter",
        request(),
        one(bad=facts("bad", enabled=False, disabled_reason="new disks")),
        "is disabled: new disks",
    ),
    ("ComputeFilter", request(), one(bad=facts("bad", forced_down=True)), "is forced down"),
    *(
        ("ComputeFilter", request(), one(bad=facts("bad", state=state)), f"is not alive: {state.value}")
        for state in (MemberState.HOST_DOWN, MemberState.LEFT, MemberState.STALLED, MemberState.LEAVING)
    ),
    (
        "ComputeFilter",
        request(),
        one(bad=facts("bad", state=None)),
        "is not alive: not in the membership table",
    ),
    ("RamFilter", request(size={"memory_mb": 512}), one(bad=facts("bad", memory_mb=511)), "512 of 511"),
    (
        "RamFilter",
        request(size={"memory_mb": 4_096}),
        one(bad=facts("bad", reserved_memory_mb=5_000)),
        "4096 of 3192",
    ),
    (
        "RamFilter",  # a ratio lets servers share, but none may be larger than the machine
        request(size={"memory_mb": 8_200}),
        one(facts("good", memory_mb=8_200), facts("bad", memory_ratio_milli=2_000)),
        "8200 of 8192",
    ),
    ("CoreFilter", request(size={"vcpus": 4}), one(bad=facts("bad", used={"VCPU": 5})), "4 of 3"),
    (
        "CoreFilter",
        request(size={"vcpus": 9}),
        one(facts("good", vcpus=9), facts("bad", cpu_ratio_milli=16_000)),
        "9 of 8",
    ),
    (
        "DiskFilter",
        request(size={"root_gb": 50, "ephemeral_gb": 20, "swap_mb": 1_025}),
        one(bad=facts("bad", used={"DISK_GB": 40})),
        "72 of 60",
    ),
    (
        "ResourceClassFilter",
        request(specs={"resources:CUSTOM_GPU": "2"}),
        one(facts("good", offered={"CUSTOM_GPU": Inventory(total=2)})),
        "2 of 0",
    ),
    (
        "ResourceClassFilter",
        request(specs={"resources:CUSTOM_GPU": "2"}),
        one(
            facts("good", offered={"CUSTOM_GPU": Inventory(total=2)}),
            facts("bad", offered={"CUSTOM_GPU": Inventory(total=2)}, used={"CUSTOM_GPU": 1}),
        ),
        "2 of 1",
    ),
    (
        "ResourceClassFilter",
        request(specs={"resources:CUSTOM_GPU": "3"}),
        one(
            facts("good", offered={"CUSTOM_GPU": Inventory(total=4)}),
            facts("bad", offered={"CUSTOM_GPU": Inventory(total=4, step_size=2)}),
        ),
        "cannot give 3 of CUSTOM_GPU to one server",
    ),
    (
        "ResourceClassFilter",  # dedicated processors are another class
        request(specs={"hw:cpu_policy": "dedicated"}),
        one(facts("good", offered={"PCPU": Inventory(total=4)}, told=told(*CELLS))),
        "1 of 0",
    ),
    (
        "ResourceClassFilter",  # numbered groups count together, and instead of the flavor's own
        request(size={"vcpus": 50}, specs={"resources1:VCPU": "4", "resources2:VCPU": "5"}),
        one(facts("good", vcpus=9)),
        "9 of 8",
    ),
    (
        "TraitsFilter",
        request(specs={"trait:CUSTOM_FAST": "required"}),
        one(facts("good", traits=frozenset({"CUSTOM_FAST"}))),
        "has not CUSTOM_FAST",
    ),
    (
        "TraitsFilter",
        request(specs={"trait:CUSTOM_SLOW": "forbidden"}),
        one(bad=facts("bad", traits=frozenset({"CUSTOM_SLOW"}))),
        "has CUSTOM_SLOW",
    ),
    (
        "TraitsFilter",
        request(image_properties={"trait:CUSTOM_FAST": "required"}),
        one(facts("good", traits=frozenset({"CUSTOM_FAST"}))),
        "has not CUSTOM_FAST",
    ),
    (
        "ComputeCapabilitiesFilter",
        request(specs={"capabilities:hypervisor_version": ">= 7002001"}),
        one(facts("good", hypervisor_version=8_000_000), facts("bad", hypervisor_version=6_000_000)),
        "hypervisor_version is 6000000, not >= 7002001",
    ),
    (
        "ComputeCapabilitiesFilter",
        request(specs={"hypervisor_type": "KVM"}),
        one(facts("good", hypervisor_type="KVM"), facts("bad", hypervisor_type="QEMU")),
        "hypervisor_type is QEMU, not KVM",
    ),
    (
        "ComputeCapabilitiesFilter",
        request(specs={"capabilities:cpu_info:arch": "<or> aarch64 <or> x86_64"}),
        one(bad=facts("bad", arch="ppc64le")),
        "cpu_info:arch is ppc64le, not <or> aarch64 <or> x86_64",
    ),
    (
        "ImagePropertiesFilter",
        request(image_properties={"hw_architecture": "aarch64"}),
        one(facts("good", arch="aarch64")),
        "is x86_64, and the image is for aarch64",
    ),
    (
        "ImagePropertiesFilter",
        request(image_properties={"img_hv_type": "qemu"}),
        one(facts("good", hypervisor_type="KVM"), facts("bad", hypervisor_type="lxc")),
        "has lxc, and the image needs qemu",
    ),
    (
        "ImagePropertiesFilter",
        request(image_properties={"hypervisor_version_requires": ">=7.2,<9"}),
        one(facts("good", hypervisor_version=7_002_001), facts("bad", hypervisor_version=9_000_000)),
        "has hypervisor version 9000000, and the image needs >=7.2,<9",
    ),
    (
        "AggregateInstanceExtraSpecsFilter",
        request(specs={"aggregate_instance_extra_specs:ssd": "true"}),
        grouped("ssd", "true"),
        "is in no aggregate with ssd",
    ),
    (
        "AggregateInstanceExtraSpecsFilter",
        request(specs={"ssd": "true"}),
        grouped("ssd", "true", "false"),
        "ssd is false, not true",
    ),
    (
        "AggregateInstanceExtraSpecsFilter",
        request(specs={"aggregate_instance_extra_specs:speed": ">= 5"}),
        grouped("speed", "7", "4"),
        "speed is 4, not >= 5",
    ),
    (
        "AggregateInstanceExtraSpecsFilter",
        request(specs={"tier": "<or> gold <or> silver"}),
        grouped("tier", "bronze, silver", "bronze,iron"),
        "tier is bronze or iron, not <or> gold <or> silver",
    ),
    (
        "AggregateMultiTenancyIsolation",
        request(),
        grouped("filter_tenant_id", f"other, {PROJECT}", "other"),
        "is in for-bad, for other projects",
    ),
    (
        "AggregateMultiTenancyIsolation",
        request(),
        one(aggregates=(aggregate("rack", [BAD], filter_tenant_id3="other"),)),
        "is in rack, for other projects",
    ),
    (
        "AggregateImagePropertiesIsolation",
        request(image_properties={"os_distro": "debian"}),
        grouped("os_distro", "debian", "windows"),
        "os_distro is windows, not debian",
    ),
    (
        "AggregateImagePropertiesIsolation",
        request(image_properties={"os_distro": "debian"}),
        grouped("os_distro", "ubuntu,debian", "ubuntu,windows"),
        "os_distro is ubuntu or windows, not debian",
    ),
    (
        "AggregateTypeAffinityFilter",
        request(),
        one(
            aggregates=(
                aggregate("tiny", [GOOD], instance_type="m1.tiny"),
                aggregate("large", [GOOD, BAD], instance_type="m1.large"),
            )
        ),
        "is kept for m1.large",
    ),
    (
        "AggregateTypeAffinityFilter",
        request(),
        grouped("instance_type", "m1.large, m1.tiny", "m1.large"),
        "is kept for m1.large",
    ),
    (
        "AggregateIoOpsFilter",
        request(),
        one(
            facts("good", io_ops=1),
            facts("bad", io_ops=1),
            aggregates=(aggregate("slow", [BAD], max_io_ops_per_host="1"),),
        ),
        "has 1 servers that build or move, at most 1",
    ),
    (
        "AggregateNumInstancesFilter",
        request(),
        one(
            facts("good", servers=4),
            facts("bad", servers=4),
            aggregates=(
                aggregate("some", [GOOD], max_instances_per_host="9"),
                aggregate("few", [BAD], max_instances_per_host="4"),
                aggregate("more", [BAD], max_instances_per_host="5"),
            ),
        ),
        "has 4 servers, at most 4",
    ),
    (
        "ServerGroupAntiAffinityFilter",
        request(group=group(GroupPolicy.ANTI_AFFINITY)),
        one(group_hosts=members(bad=1)),
        "has 1 of the server group, at most 1",
    ),
    (
        "ServerGroupAntiAffinityFilter",
        request(group=group(GroupPolicy.ANTI_AFFINITY, most=2)),
        one(group_hosts=members(good=1, bad=2)),
        "has 2 of the server group, at most 2",
    ),
    (
        "ServerGroupAffinityFilter",
        request(group=group(GroupPolicy.AFFINITY)),
        one(group_hosts=members(good=1)),
        "has no member of the server group, whose policy is affinity",
    ),
    (  # the one that moves away from there is itself the member that the bad one has
        "ServerGroupAffinityFilter",
        request(group=group(GroupPolicy.AFFINITY), moves_from=BAD.host.host_id),
        one(group_hosts=members(good=1, bad=1)),
        "has no member of the server group, whose policy is affinity",
    ),
    (
        "DifferentHostFilter",
        request(hints={"different_host": ["s9", "s1"]}),
        one(server_hosts={"s1": BAD.host.host_id}),
        "has a server that different_host names",
    ),
    (
        "SameHostFilter",
        request(hints={"same_host": "s1"}),
        one(server_hosts={"s1": GOOD.host.host_id}),
        "has no server that same_host names",
    ),
    (
        "SimpleCIDRAffinityFilter",
        request(hints={"build_near_host_ip": "10.1.2.3", "cidr": "/25"}),
        one(facts("good", address="10.1.2.99"), facts("bad", address="10.1.2.200")),
        "has 10.1.2.200, which is not in 10.1.2.0/25",
    ),
    (
        "JsonFilter",
        request(hints={"query": '["and", [">=", "$free_ram_mb", 1024], ["not", ["in", "$host", "bad"]]]'}),
        one(),
        "does not satisfy the query",
    ),
    (
        "PciPassthroughFilter",
        request(specs={"pci_passthrough:alias": "gpu:2,nic:1"}),
        one(facts("good", told=told(gpu=2, nic=1)), facts("bad", told=told(gpu=1, nic=1))),
        "2 of 1",
    ),
    (
        "NUMATopologyFilter",
        request(size={"vcpus": 4, "memory_mb": 4_096}, specs={"hw:numa_nodes": "2"}),
        one(facts("good", told=told(*CELLS)), facts("bad", told=told(CELLS[0]))),
        "2 NUMA nodes of 2 CPUs and 2048 MB wanted, free are 4 CPUs, 0 dedicated, 4096 MB at cell 0",
    ),
    (
        "NUMATopologyFilter",
        request(size={"memory_mb": 2_048}, specs={"hw:mem_page_size": "1GB"}),
        one(facts("good", told=told(cell(0, pages={1_048_576: 4})))),
        "NUMA nodes wanted, and it says nothing of its own",
    ),
    ("IsolatedHostsFilter", request(), one(), "is kept for other images"),
    (
        "MetricsFilter",
        request(),
        one(
            facts("good", metrics={"cpu.percent": 3, "cpu.frequency": 2_000, "cpu.idle.percent": 97}),
            facts("bad", metrics={"cpu.percent": 3}),
        ),
        "does not say cpu.frequency",
    ),
    (
        "IoOpsFilter",
        request(),
        one(bad=facts("bad", io_ops=2)),
        "has 2 servers that build or move, at most 2",
    ),
    ("NumInstancesFilter", request(), one(bad=facts("bad", servers=3)), "has 3 servers, at most 3"),
]


@pytest.mark.parametrize(("name", "asked", "hosts", "said"), CASES)
def test_one_host_in_one_host_out(name: str, asked: PlacementRequest, hosts: HostTable, said: str) -> None:
    only = Policy((FILTERS[name](SETTINGS),), ())
    assert [hosts.hosts[place].host.name for place in fitting(asked, hosts, only)] == ["good"]
    (refusal,) = refusals_at(asked, hosts, [(only.filters[0], only.filters[0].passes(asked, hosts))], 1)
    assert refusal.filter_name == name
    assert said == (refusal.remark or f"{refusal.needed} of {refusal.free}")


@pytest.mark.parametrize(("name", "asked", "hosts", "said"), CASES)
def test_each_cure_lets_the_host_pass_its_filter(
    name: str, asked: PlacementRequest, hosts: HostTable, said: str
) -> None:
    each = FILTERS[name](SETTINGS)
    cures = list(each.cures(asked, hosts, 1))
    assert cures or name == "IsolatedHostsFilter"
    assert all(_cures(each, cure, asked, hosts) for cure in cures[:1]), cures[0].text
    assert any(_cures(each, cure, asked, hosts) for cure in cures) or name == "IsolatedHostsFilter"


def _cures(each: Any, cure: Change, asked: PlacementRequest, hosts: HostTable) -> bool:
    changed, other = cure.edit(asked), hosts.copy()
    cure.rebuild(other)
    return not each.applies(changed, other) or bool(each.passes(changed, other)[1])


def test_every_filter_has_its_case_and_the_defaults_are_filters() -> None:
    assert {name for name, *_ in CASES} | {"ExtraSpecNamesFilter"} == FILTERS.keys()
    assert set(ALWAYS) <= set(DEFAULT_FILTERS) <= FILTERS.keys()


@pytest.mark.parametrize("spec", ["trait:fast", "resources:lower", "resources1:CUSTOM-A", "trait_a:"])
def test_what_nothing_can_be_called_no_host_has_and_no_host_is_given(spec: str) -> None:
    """Found by a user: such a server was placed anywhere."""
    only = Policy((FILTERS["ExtraSpecNamesFilter"](SETTINGS),), ())
    for asked in (request(), request(specs={"trait:CUSTOM_A": "required", "resources2:CUSTOM_B": "1"})):
        assert len(fitting(asked, one(), only)) == 2
    asked = request(specs={spec: "1", "hw:cpu_policy": "shared"})
    assert len(fitting(asked, one(), only)) == 0
    (refusal,) = refusals_at(asked, one(), [(only.filters[0], only.filters[0].passes(asked, one()))], 1)
    assert spec in refusal.reason
    (cure,) = only.filters[0].cures(asked, one(), 1)
    assert cure.edit(asked).flavor.extra_specs == {"hw:cpu_policy": "shared"}
    assert _cures(only.filters[0], cure, asked, one())


def test_fits_to_the_last_unit() -> None:
    for asked, facts_ in (
        (request(size={"memory_mb": 1_192}), facts(used={"MEMORY_MB": 7_000})),
        (request(size={"memory_mb": 8_192}), facts(used={"MEMORY_MB": 4_096}, memory_ratio_milli=1_500)),
        (request(size={"vcpus": 8}), facts(used={"VCPU": 8}, cpu_ratio_milli=2_000)),
        (request(size={"root_gb": 60}), facts(used={"DISK_GB": 40})),
        (request(size={"root_gb": 0}), facts(used={"DISK_GB": 100})),
        (request(size={"root_gb": 0}), facts(used={"DISK_GB": 150})),  # a ratio was lowered since
    ):
        policy = Policy(tuple(FILTERS[name](SETTINGS) for name in NEUTRAL), ())
        assert len(fitting(asked, table(facts_), policy)) == 1


def test_a_suspect_host_still_counts_as_up() -> None:
    assert table(facts(state=MemberState.SUSPECT)).can_take.all()


def test_the_first_of_a_group_may_go_anywhere() -> None:
    for policy in GroupPolicy:
        asked = request(group=group(policy))
        named = ("ServerGroupAffinityFilter", "ServerGroupAntiAffinityFilter")
        only = Policy(tuple(FILTERS[name](SETTINGS) for name in named), ())
        assert len(fitting(asked, one(), only)) == 2


def test_one_that_moves_does_not_bind_itself_to_where_it_is() -> None:
    only = Policy((FILTERS["ServerGroupAffinityFilter"](SETTINGS),), ())
    asked = request(group=group(GroupPolicy.AFFINITY), moves_from=BAD.host.host_id)
    for hosts, expected in (
        (members(bad=1), ["good", "bad"]),
        (members(bad=2), ["bad"]),
        (members(good=1, bad=2), []),  # another one is moving, and nobody knows where it will end
        ({}, ["good", "bad"]),
    ):
        around = one(group_hosts=hosts)
        assert [around.hosts[place].host.name for place in fitting(asked, around, only)] == expected


def test_a_host_kept_for_an_image_takes_that_image_and_no_other() -> None:
    only = Policy((FILTERS["IsolatedHostsFilter"](SETTINGS),), ())
    hosts = one()
    assert list(fitting(request(image_id=ImageId("private")), hosts, only)) == [1]
    assert list(fitting(request(image_id=ImageId(uuid_of("image"))), hosts, only)) == [0]
    lax = PlacementSettings(
        isolated_hosts=frozenset({"bad"}), restrict_isolated_hosts_to_isolated_images=False
    )
    assert len(fitting(request(), hosts, Policy((FILTERS["IsolatedHostsFilter"](lax),), ()))) == 2


NO_QUERIES = [
    *("nonsense", "[]", '["and"]', '["=", "$host"]', '["=", "$nothing", 1]', '["<", "$host", 1]', '{"a": 1}'),
    *("9" * 5_000, '["not", ["=", "$host", "h1"], ["=", "$host", "h2"]]', "[" * 400 + "]" * 400),
]


@pytest.mark.parametrize("query", NO_QUERIES)
def test_what_is_no_query_holds_nowhere(query: str) -> None:
    only = Policy((FILTERS["JsonFilter"](SETTINGS),), ())
    assert len(fitting(request(hints={"query": query}), one(), only)) == 0
