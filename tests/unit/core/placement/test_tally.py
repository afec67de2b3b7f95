"""An explanation in few words: counts for users, nearest hosts for operators."""

from __future__ import annotations

from dataclasses import replace

from fabric.core.placement.explain import explain
from fabric.core.placement.filters import HostFilter
from fabric.core.placement.host_table import HostTable, Mask
from fabric.core.placement.no_host import no_host
from fabric.core.placement.policy import Policy, policy_of
from fabric.core.placement.request import PlacementRequest
from fabric.core.placement.settings import PlacementSettings
from fabric.core.placement.tally import summary, tallies
from tests.fixtures.placement_rows import facts, request, table

POLICY = policy_of(PlacementSettings())
FULL = {"VCPU": 8}


def test_every_refusal_is_counted_and_the_nearest_come_first() -> None:
    hosts = table(
        facts("off", enabled=False, used=FULL),
        facts("full", used={"VCPU": 7}),
        facts("fuller", used=FULL),
    )
    told = tallies(explain(request(size={"vcpus": 2}), hosts, POLICY).verdicts)
    assert [(each.filter_name, each.hosts, each.needed, each.most_free) for each in told] == [
        ("CoreFilter", 3, 2, 1),
        ("ComputeFilter", 1, None, None),
    ]
    assert [name for name, _ in told[0].nearest] == ["full", "fuller", "off"]


def test_by_first_refusals_each_host_is_counted_once() -> None:
    hosts = table(facts("off", enabled=False, used=FULL), facts("full", used=FULL))
    told = tallies(explain(request(), hosts, POLICY).verdicts, first_only=True)
    assert {(each.filter_name, each.hosts) for each in told} == {("ComputeFilter", 1), ("CoreFilter", 1)}


def test_the_summary_is_what_the_fault_would_say() -> None:
    hosts = table(facts("a", used={"VCPU": 2}), facts("b", used={"VCPU": 5}))
    asked = request(size={"vcpus": 6})
    assert summary(explain(asked, hosts, POLICY)) == "It fits on 1 of 2 hosts."
    asked = request(size={"vcpus": 7})
    said = summary(explain(asked, hosts, POLICY))
    assert said == no_host(asked, hosts, POLICY).message
    assert "2 hosts: not enough vCPUs (needs 7 vCPUs, at most 6 free)" in said
    assert summary(explain(asked, table(), POLICY)) == "No valid host was found. No host is registered."


class Counting:
    """A filter that counts how often it was asked, and over how many hosts."""

    def __init__(self, inner: HostFilter, asked: list[int]) -> None:
        self.inner, self.asked, self.name = inner, asked, inner.name
        self.applies, self.refusal, self.cures = inner.applies, inner.refusal, inner.cures

    def passes(self, request: PlacementRequest, hosts: HostTable) -> Mask:
        self.asked.append(len(hosts))
        return self.inner.passes(request, hosts)


def evaluations(asked: PlacementRequest, hosts: HostTable) -> list[int]:
    """Of each call of a filter's `passes`: over how many hosts."""
    calls: list[int] = []
    counting = tuple(Counting(each, calls) for each in POLICY.filters)
    explain(asked, hosts, Policy(counting, POLICY.weighers))
    return calls


def test_the_work_is_bounded_whatever_the_number_of_hosts() -> None:
    """Everything may be wrong at every host, and still all hosts are looked at only so often."""
    wrong = request(
        size={"vcpus": 1_000, "memory_mb": 1 << 30, "root_gb": 10_000}, specs={"trait:CUSTOM_X": "required"}
    )
    for asked in (request(), wrong, replace(wrong, zone="nowhere", host_name="nobody")):
        counts = []
        for number in (20, 1_000):
            hosts = table(*(facts(f"h{i}", enabled=bool(i % 3), used={"VCPU": i % 9}) for i in range(number)))
            calls = evaluations(asked, hosts)
            over_all = [size for size in calls if size == number]
            over_few = [size for size in calls if size != number]
            assert len(over_all) <= 30 * len(POLICY.filters)
            assert sum(over_few) <= 8 * 13 * len(POLICY.filters)
            counts.append(len(over_all))
        assert counts[1] <= counts[0] + len(POLICY.filters), "grows with the number of hosts"
