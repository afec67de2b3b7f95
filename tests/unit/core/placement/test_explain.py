"""What would have to be otherwise: the least, and nothing that changes nothing."""

from __future__ import annotations

import pytest

from fabric.core.placement.explain import explain, why_not
from fabric.core.placement.host_table import HostTable
from fabric.core.placement.inventory import Inventory
from fabric.core.placement.policy import policy_of
from fabric.core.placement.request import PlacementRequest
from fabric.core.placement.settings import PlacementSettings
from tests.fixtures.placement_rows import aggregate, facts, request, table

POLICY = policy_of(PlacementSettings())


def test_who_takes_it_for_less_makes_the_rest_needless() -> None:
    """One host lacks processors, the other is disabled beside that: enabling it is not needed."""
    hosts = table(facts("a"), facts("b", enabled=False))
    asked = request(size={"vcpus": 9})
    told = [each.text for each in explain(asked, hosts, POLICY).counterfactuals]
    assert told[0] == "would fit if the flavor had 8 vCPUs"
    assert "would fit if b was enabled and the flavor had 8 vCPUs" not in told
    of_b = [each.text for each in why_not(asked, hosts, POLICY, 1).counterfactuals]
    assert "would fit if b was enabled and the flavor had 8 vCPUs" in of_b


def test_a_change_of_another_size_is_another_change() -> None:
    hosts = table(facts("a", used={"MEMORY_MB": 8_000}), facts("b", used={"MEMORY_MB": 1_000}, vcpus=2))
    told = [
        each.text
        for each in explain(request(size={"vcpus": 3, "memory_mb": 8_192}), hosts, POLICY).counterfactuals
    ]
    assert "would fit if the flavor had 192 MB of memory" in told
    assert "would fit if the flavor had 7192 MB of memory and the flavor had 2 vCPUs" in told


def told_of(asked: PlacementRequest, hosts: HostTable) -> list[str]:
    return [each.text for each in explain(asked, hosts, POLICY).counterfactuals]


def test_operators_hear_what_they_could_do_beside_what_whoever_asks_could() -> None:
    """The issue's own example: an aggregate that would have to say ssd=true."""
    slow = facts("b")
    hosts = table(facts("a", enabled=False), slow, aggregates=(aggregate("slow", [slow], ssd="false"),))
    asked = request(specs={"aggregate_instance_extra_specs:ssd": "true"})
    told = told_of(asked, hosts)
    assert told[0] == "would fit if the flavor had no aggregate_instance_extra_specs:ssd"
    assert "would fit if aggregate slow had ssd=true" in told


def test_a_command_comes_before_a_machine() -> None:
    told = told_of(request(size={"vcpus": 9}), table(facts("a"), facts("b", vcpus=16, enabled=False)))
    assert told == [
        "would fit if the flavor had 8 vCPUs",
        "would fit if b was enabled",
        "would fit if a had 1 more vCPUs",
    ]


@pytest.mark.parametrize(
    "specs",
    [
        {"resources:CUSTOM_GPU": "3", "resources1:CUSTOM_Q": "2"},
        {"resources:CUSTOM_GPU": "3", "hw:cpu_policy": "dedicated"},
        {"hw:numa_nodes": "2", "pci_passthrough:alias": "gpu:1"},
        {
            "hw:numa_nodes": "2",
            "pci_passthrough:alias": "gpu:1",
            "resources:CUSTOM_GPU": "3",
            "trait:X": "required",
        },
        {"trait:small": "required", "resources:CUSTOM_GPU": "1"},
    ],
    ids=lambda specs: ",".join(specs),
)
def test_what_lacks_in_several_ways_is_told_all_that_has_to_change(specs: dict[str, str]) -> None:
    """Found by a user: where one filter missed two things, or one hid behind another, nothing was told."""
    asked = request(specs=specs)
    first = explain(asked, table(facts("a"), facts("b")), POLICY).counterfactuals[0]
    assert not first.is_admins
    assert {name for change in first.changes for name in change.value} == specs.keys()


def test_of_what_there_is_some_of_whoever_asks_may_have_that() -> None:
    offered = {"CUSTOM_A": Inventory(total=2), "CUSTOM_B": Inventory(total=1)}
    asked = request(specs={"resources:CUSTOM_A": "3", "resources:CUSTOM_B": "2"})
    told = told_of(asked, table(facts("a", offered=offered)))
    assert told[0] == "would fit if the flavor had no resources:CUSTOM_A and resources:CUSTOM_B"
    assert told[1] == "would fit if a had 1 more CUSTOM_A and a had 1 more CUSTOM_B"
