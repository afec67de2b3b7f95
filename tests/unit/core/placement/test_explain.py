"""What would have to be otherwise: the least, and nothing that changes nothing."""

from __future__ import annotations

from fabric.core.placement.explain import explain, why_not
from fabric.core.placement.policy import policy_of
from fabric.core.placement.settings import PlacementSettings
from tests.fixtures.placement_rows import facts, request, table

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
