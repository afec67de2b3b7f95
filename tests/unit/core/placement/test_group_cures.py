"""What a tenant is told to do about a server group: its rules do not change once it is made."""

from __future__ import annotations

from fabric.core.placement.explain import explain
from fabric.core.placement.policy import policy_of
from fabric.core.placement.settings import PlacementSettings
from fabric.core.server_groups.model import GroupPolicy
from tests.fixtures.placement_rows import facts, group, members, request, table


def test_another_group_is_asked_for_and_not_another_rule() -> None:
    hosts = table(facts("a"), group_hosts=members(a=1))
    asked = request(group=group(GroupPolicy.ANTI_AFFINITY))
    told = [each.text for each in explain(asked, hosts, policy_of(PlacementSettings())).counterfactuals]
    assert "would fit if it was asked for in a group that allows 2 on a host" in told
