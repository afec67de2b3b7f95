"""What hosts' cells and devices can give is worked out in steps, and is as if it had been at once."""

from __future__ import annotations

from fabric.core.placement.choose import choose, claim, fitting, made_ready
from fabric.core.placement.filters import FILTERS
from fabric.core.placement.policy import Policy
from fabric.core.placement.settings import PlacementSettings
from tests.fixtures.placement_rows import cell, facts, request, table, told

COUNT = 300
ONLY = Policy(
    tuple(FILTERS[name](PlacementSettings()) for name in ("PciPassthroughFilter", "NUMATopologyFilter")), ()
)
HOSTS = [facts(f"h{number}", told=told(cell(0), gpu=number % 2)) for number in range(COUNT)]
WANTS = request(specs={"hw:numa_nodes": "1", "pci_passthrough:alias": "gpu:1"})
ODD = list(range(1, COUNT, 2))


def test_in_steps_it_is_the_same() -> None:
    hosts = table(*HOSTS)
    assert sum(1 for _ in made_ready(WANTS, hosts, ONLY)) >= 4
    assert list(fitting(WANTS, hosts, ONLY)) == ODD == list(fitting(WANTS, table(*HOSTS), ONLY))
    assert list(made_ready(WANTS, hosts, ONLY)) == []  # there is nothing left to do


def test_what_changes_between_steps_counts_and_what_was_broken_off_does_not() -> None:
    hosts = table(*HOSTS)
    steps = made_ready(WANTS, hosts, ONLY)
    next(steps)
    hosts.put(facts("h1", told=told(cell(0))))  # looked at already
    hosts.put(facts("h298", told=told(cell(0), gpu=1)))  # not yet
    list(steps)
    assert list(fitting(WANTS, hosts, ONLY)) == [*ODD[1:-1], 298, 299]
    broken_off = table(*HOSTS)
    steps = made_ready(WANTS, broken_off, ONLY)
    next(steps)
    steps.close()  # type: ignore[attr-defined]
    assert list(fitting(WANTS, broken_off, ONLY)) == ODD


def test_a_device_that_was_claimed_in_this_round_is_nobody_elses() -> None:
    hosts = table(*HOSTS[:4])
    for name in ("one", "two"):
        asked = request(name, specs={"pci_passthrough:alias": "gpu:1"})
        choice = choose(asked, hosts, ONLY)
        assert choice is not None
        claim(asked, choice.host_id, hosts)
    assert list(fitting(WANTS, hosts, ONLY)) == []
    hosts.release(choice.host_id, asked.resources.total(), server_id=asked.server_id)
    assert len(fitting(WANTS, hosts, ONLY)) == 1
