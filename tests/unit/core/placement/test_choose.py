"""Which of the hosts that pass: weights, multipliers, ties, and drivers of other kinds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fabric.core.placement.choose import choose, choose_batch, fitting, ranked, rendezvous
from fabric.core.placement.filters import DEFAULT_FILTERS
from fabric.core.placement.host_table import COLUMNS_MAX, HostTable
from fabric.core.placement.host_word import packed
from fabric.core.placement.no_host import no_host
from fabric.core.placement.policy import Parts, Policy, policy_of
from fabric.core.placement.request import PlacementRequest
from fabric.core.placement.settings import PlacementSettings
from fabric.core.placement.weigh import weigh
from fabric.core.placement.weighers import WEIGHERS
from fabric.core.server_groups.model import GroupPolicy
from proto.ids import ImageId
from tests.fixtures.compute_rows import host
from tests.fixtures.placement_rows import aggregate, facts, group, members, request, table, told

POLICY = policy_of(PlacementSettings())
A, B = facts("a"), facts("b")
SHA256, OTHER_SHA256 = "ab" * 32, "cd" * 32


def chosen(asked: PlacementRequest, hosts: HostTable, policy: Policy = POLICY) -> str:
    choice = choose(asked, hosts, policy)
    assert choice is not None
    return hosts.hosts[hosts.place[choice.host_id]].host.name


def only(name: str, multiplier: float | None = None, **settings: Any) -> Policy:
    """A policy of one weigher."""
    made = WEIGHERS[name](PlacementSettings(**settings))
    return Policy(POLICY.filters, ((made, made.multiplier if multiplier is None else multiplier),))


def weights_of(name: str, hosts: HostTable, **asked: Any) -> list[float]:
    """Of the hosts that pass, by one weigher."""
    wanted = request(**asked)
    return list(weigh(wanted, hosts, only(name, 1.0), fitting(wanted, hosts, POLICY)))


# name, what is asked, hosts of which "a" is the better one
BETTER: list[tuple[str, PlacementRequest, HostTable, dict[str, Any]]] = [
    ("RAMWeigher", request(), table(A, facts("b", used={"MEMORY_MB": 1})), {}),
    ("CPUWeigher", request(), table(A, facts("b", used={"VCPU": 1})), {}),
    ("DiskWeigher", request(), table(A, facts("b", used={"DISK_GB": 1})), {}),
    ("IoOpsWeigher", request(), table(A, facts("b", io_ops=1)), {}),
    ("NumInstancesWeigher", request(), table(facts("a", servers=2), B), {}),
    ("BuildFailureWeigher", request(), table(A, facts("b", build_failures=1)), {}),
    ("HypervisorVersionWeigher", request(), table(facts("a", hypervisor_version=9_000_000), B), {}),
    (
        "ServerGroupSoftAffinityWeigher",
        request(group=group(GroupPolicy.SOFT_AFFINITY)),
        table(A, B, group_hosts=members(a=2, b=1)),
        {},
    ),
    (
        "ServerGroupSoftAntiAffinityWeigher",
        request(group=group(GroupPolicy.SOFT_ANTI_AFFINITY)),
        table(A, B, group_hosts=members(a=1, b=2)),
        {},
    ),
    ("PCIWeigher", request(), table(A, facts("b", told=told(gpu=1))), {}),
    (
        "PCIWeigher",
        request(specs={"pci_passthrough:alias": "gpu:1"}),
        table(facts("a", told=told(gpu=1)), facts("b", told=told(gpu=4))),
        {},
    ),
    (
        "ImageLocalityWeigher",
        request(image_id=ImageId("i")),
        table(facts("a", images=frozenset({ImageId("i")})), B),
        {},
    ),
    (
        "ImageLocalityWeigher",  # in a cache, which knows contents and no ids
        request(image_id=ImageId("i"), image_sha256=SHA256),
        table(facts("a", cached=packed([SHA256])), facts("b", cached=packed([OTHER_SHA256]))),
        {},
    ),
    (
        "MetricsWeigher",
        request(),
        table(facts("a", metrics={"heat": 20.0}), facts("b", metrics={"heat": 70.0})),
        {"metric_weights": {"heat": -1.0}},
    ),
    (
        "MetricsWeigher",  # who does not say it counts as the worst
        request(),
        table(facts("a", metrics={"heat": 70.0}), B, facts("c", metrics={"heat": 90.0})),
        {"metric_weights": {"heat": -1.0}},
    ),
]


@pytest.mark.parametrize(("name", "asked", "hosts", "settings"), BETTER)
def test_one_host_is_better(
    name: str, asked: PlacementRequest, hosts: HostTable, settings: dict[str, Any]
) -> None:
    policy = only(name, 1.0 if name == "NumInstancesWeigher" else None, **settings)
    assert chosen(asked, hosts, policy) == "a"
    weigher, multiplier = policy.weighers[0]
    assert chosen(asked, hosts, Policy(policy.filters, ((weigher, -multiplier),))) != "a"


def test_every_weigher_has_its_case() -> None:
    assert {name for name, *_ in BETTER} == WEIGHERS.keys()


def test_who_holds_an_image_and_who_caches_it_are_alike() -> None:
    asked = request(image_id=ImageId("i"), image_sha256=SHA256)
    holder, cacher = facts("a", images=frozenset({ImageId("i")})), facts("b", cached=packed([SHA256]))
    hosts = table(holder, cacher, facts("c"))
    weights = weigh(asked, hosts, only("ImageLocalityWeigher"), fitting(asked, hosts, POLICY))
    assert list(weights) == [0.01, 0.01, 0.0]


def test_servers_of_one_image_do_not_gather_where_the_first_one_was() -> None:
    """One small server more counts for more than a copy of the image."""
    asked = request(image_id=ImageId("i"))
    holder = facts("a", images=frozenset({ImageId("i")}))
    assert chosen(asked, table(holder, facts("b"))) == "a"
    busier = replace(holder, used={"VCPU": 1, "MEMORY_MB": 192}, servers=1)
    assert chosen(asked, table(busier, facts("b"))) == "b"


def test_megabytes_do_not_drown_processors() -> None:
    hosts = table(
        facts("memory", used={"VCPU": 8}),
        facts("both", used={"VCPU": 1, "MEMORY_MB": 100}),
        facts("most", used={"MEMORY_MB": 40}),
    )
    assert chosen(request(size={"vcpus": 0}), hosts) == "most"


def test_weights_are_stretched_over_the_candidates_alone() -> None:
    """A host that cannot take it does not make those that can look alike."""
    hosts = table(facts("a", servers=7), facts("b", servers=3), facts("huge", servers=900, enabled=False))
    assert weights_of("NumInstancesWeigher", hosts) == [1.0, 0.0]


def test_weights_of_room_are_stretched_from_nought() -> None:
    """One processor more or less is nothing among many, though it be all that tells two hosts apart."""
    hosts = table(facts("a", vcpus=100), facts("b", vcpus=75), facts("over", vcpus=10, used={"VCPU": 400}))
    assert weights_of("CPUWeigher", hosts, size={"vcpus": 0}) == [1.0, 0.75, 0.0]
    alike = facts("a", used={"VCPU": 4}), facts("b", used={"VCPU": 4})
    assert weights_of("CPUWeigher", table(*alike)) == [1.0, 1.0]
    assert weights_of("IoOpsWeigher", table(A, B)) == [0.0, 0.0]


class Heat:
    """Somebody else's, with both ends."""

    name = "Heat"
    setting = "heat_weight_multiplier"
    multiplier = 1.0
    minval: float | None = 10.0
    maxval: float | None = 50.0

    def column(self, request: PlacementRequest, table: HostTable) -> Any:
        return table.column("heat", lambda facts: facts.metrics["heat"], float)


def test_who_does_not_say_a_metric_weighs_what_the_operator_says_of_such() -> None:
    hosts = table(
        facts("a", metrics={"heat": 20.0, "noise": 1.0}),
        facts("b", metrics={"heat": 20.0}),
        facts("c", metrics={"heat": 70.0, "noise": 1.0}),
    )
    places = fitting(request(), hosts, POLICY)

    def weights(**settings: Any) -> list[float]:
        return list(weigh(request(), hosts, only("MetricsWeigher", **settings), places))

    two = {"heat": -1.0, "noise": 1.0}
    assert weights(metric_weights=two, metrics_weight_of_unavailable=-119.0) == [1.0, 0.0, 0.5]
    assert weights(metric_weights=two)[1] == 0.0
    assert weights(metric_weights={"heat": -1.0, "noise": 0.0}) == [1.0, 1.0, 0.0]  # nothing hangs on it


def test_metrics_are_required_unless_the_operator_says_otherwise() -> None:
    hosts = table(facts("a", metrics={"heat": 20.0}), B)
    strict = PlacementSettings(metric_weights={"heat": 1.0})
    assert list(fitting(request(), hosts, policy_of(strict))) == [0]
    assert list(fitting(request(), hosts, policy_of(replace(strict, metrics_required=False)))) == [0, 1]
    assert list(fitting(request(), hosts, policy_of(replace(strict, metric_weights={})))) == [0, 1]


def test_numbers_are_held_between_a_weighers_own_ends() -> None:
    hosts = table(*(facts(str(heat), metrics={"heat": heat}) for heat in (-4.0, 30.0, 700.0)))
    places = fitting(request(), hosts, POLICY)
    assert list(weigh(request(), hosts, Policy((), ((Heat(), 2.0),)), places)) == [0.0, 1.0, 2.0]


def test_an_aggregate_may_weigh_otherwise() -> None:
    full = facts("a", used={"MEMORY_MB": 4_000})
    asked = request()
    assert chosen(asked, table(full, B), only("RAMWeigher")) == "b"
    packing = aggregate("packing", [full, B], ram_weight_multiplier="-2.0")
    assert chosen(asked, table(full, B, aggregates=(packing,)), only("RAMWeigher")) == "a"
    nonsense = aggregate("nonsense", [full, B], ram_weight_multiplier="heavy")
    assert chosen(asked, table(full, B, aggregates=(nonsense,)), only("RAMWeigher")) == "b"
    part = aggregate("part", [B], ram_weight_multiplier="0.0")
    assert (
        chosen(
            asked, table(full, B, facts("c", used={"MEMORY_MB": 10}), aggregates=(part,)), only("RAMWeigher")
        )
        == "c"
    )


def test_equal_hosts_share_servers_evenly_and_each_server_has_one_place() -> None:
    hosts = table(*(facts(f"h{number}") for number in range(3)))
    counts: dict[str, int] = {}
    for number in range(300):
        asked = request(f"s{number}")
        name = chosen(asked, hosts)
        assert chosen(asked, hosts) == name
        assert name == hosts.hosts[int(rendezvous(asked.server_id, hosts).argmax())].host.name
        counts[name] = counts.get(name, 0) + 1
    assert min(counts.values()) > 70


def test_rendezvous_is_stable_over_versions() -> None:
    """A value written down: another program that decides must choose alike."""
    assert int(rendezvous(request("a").server_id, table(A))[0]) == 9_082_292_407_352_879_579


def test_a_batch_spreads_and_then_says_no() -> None:
    hosts = table(*(facts(f"h{number}", memory_mb=1_024) for number in range(3)))
    results = choose_batch([request(f"s{number}") for number in range(7)], hosts, POLICY)
    placed = [each.host_id for each in results if each is not None]
    assert len(placed) == 6
    assert len(set(placed[:3])) == 3
    assert results[6] is None


def test_alternates_are_the_next_best() -> None:
    hosts = table(facts("c", used={"MEMORY_MB": 2}), A, facts("b", used={"MEMORY_MB": 1}))
    choice = choose(request(), hosts, only("RAMWeigher"), alternates=5)
    assert choice is not None
    assert [choice.host_id, *choice.alternates] == [host(name).host_id for name in "abc"]
    places = fitting(request(), hosts, POLICY)
    weights = weigh(request(), hosts, only("RAMWeigher"), places)
    assert list(ranked(request(), hosts, places, weights)) == [1, 2, 0]


def test_the_pack_driver_fills_hosts_and_the_chance_driver_minds_nothing() -> None:
    full = facts("full", used={"MEMORY_MB": 4_000, "VCPU": 2, "DISK_GB": 20})
    hosts = table(A, full)
    assert chosen(request(), hosts) == "a"
    assert chosen(request(), hosts, policy_of(PlacementSettings(driver="pack"))) == "full"
    chance = policy_of(PlacementSettings(driver="chance"))
    assert {chosen(request(f"s{number}"), hosts, chance) for number in range(40)} == {"a", "full"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"driver": "chnace"}, "scheduler.driver: 'chnace' is not there; valid: chance, filter, pack"),
        ({"filters": ("RamFliter",)}, "scheduler.filters: 'RamFliter' is not there; valid: Aggregate"),
        ({"multipliers": {"RAM": 1.0}}, "scheduler.weight_multipliers: 'RAM' is not there; valid: Build"),
        (
            {"driver": "chance", "multipliers": {"FooWeigher": 1.0}},
            "scheduler.weight_multipliers: 'FooWeigher' is not there; valid: Build",
        ),
    ],
)
def test_a_wrong_name_is_refused_with_those_that_there_are(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match="is not there; valid: ") as caught:
        policy_of(PlacementSettings(**settings))
    assert str(caught.value).startswith(said)


def test_what_apply_refuses_cannot_be_left_out_and_others_can_be_added() -> None:
    class Mine:
        name = "Mine"

    parts = Parts(filters={**Parts().filters, "Mine": lambda settings: Mine()})  # type: ignore[dict-item,return-value]
    names = [
        each.name for each in policy_of(PlacementSettings(filters=("Mine", "IoOpsFilter")), parts).filters
    ]
    assert names[-2:] == ["Mine", "IoOpsFilter"]
    assert {"ComputeFilter", "RamFilter", "ServerGroupAntiAffinityFilter"} <= set(names)
    assert len(names) < len(DEFAULT_FILTERS)


def test_a_multiplier_of_nought_switches_a_weigher_off() -> None:
    policy = policy_of(PlacementSettings(multipliers={"RAMWeigher": 0.0, "NumInstancesWeigher": -1.0}))
    found = {weigher.name: multiplier for weigher, multiplier in policy.weighers}
    assert "RAMWeigher" not in found
    assert found["NumInstancesWeigher"] == -1.0


def test_the_fault_counts_for_users_and_names_for_admins() -> None:
    hosts = table(
        facts("h1", memory_mb=1_200),
        facts("h2", memory_mb=900),
        facts("h3", enabled=False),
        facts("h4", state=None),
    )
    why = no_host(request(size={"memory_mb": 4_096}), hosts, POLICY)
    assert why.message == (
        "No valid host was found. Asked for 1 vCPUs, 4096 MB of memory, 1 GB of disk: "
        "2 hosts: not enough memory (needs 4096 MB of memory, at most 1200 free); "
        "1 host: disabled; 1 host: down. It would fit if the flavor had 1200 MB of memory."
    )
    lines = why.details.splitlines()
    assert lines[:4] == [
        "h1: needs 4096 MB of memory, 1200 MB free (RamFilter)",
        "h2: needs 4096 MB of memory, 900 MB free (RamFilter)",
        "h3: is disabled (ComputeFilter)",
        "h4: is not alive: not in the membership table (ComputeFilter)",
    ]
    assert any("h3 was enabled" in line for line in lines[4:])
    assert all(name not in why.message for name in ("h1", "h2", "h3", "h4"))


def test_no_host_at_all_is_said_so_and_details_are_bounded() -> None:
    assert no_host(request(), table(), POLICY).message == "No valid host was found. No host is registered."
    many = table(*(facts(f"h{number}") for number in range(130)))
    lines = no_host(request(zone="mars"), many, POLICY).details.splitlines()
    assert lines[100] == "and 30 more hosts"


def test_columns_made_on_demand_are_bounded() -> None:
    hosts = table(A)
    for number in range(COLUMNS_MAX + 10):
        fitting(request(hints={"build_near_host_ip": f"10.0.{number % 256}.{number // 256}"}), hosts, POLICY)
    assert len(hosts._columns) <= COLUMNS_MAX
