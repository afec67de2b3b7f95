"""What hosts' cells and devices can give is worked out in steps, and is as if it had been at once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fabric.core.membership.model import MemberState
from fabric.core.placement.choose import (
    HOSTS_AT_ONCE,
    ROOMS_AT_ONCE,
    choose,
    claim,
    fitting,
    made_ready,
)
from fabric.core.placement.filters import FILTERS
from fabric.core.placement.host_facts import HostFacts
from fabric.core.placement.host_table import HostTable, Mask
from fabric.core.placement.policy import Policy
from fabric.core.placement.request import PlacementRequest
from fabric.core.placement.settings import PlacementSettings
from fabric.core.topology.facts import Told
from fabric.core.topology.room import HostRoom
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


class Looks:
    """Counts how often what is left on a host is worked out."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        worked_out = HostFacts.room.fget  # type: ignore[attr-defined]

        def room(found: HostFacts) -> HostRoom:
            self.count += 1
            left: HostRoom = worked_out(found)
            return left

        monkeypatch.setattr(HostFacts, "room", property(room))

    def taken(self) -> int:
        count, self.count = self.count, 0
        return count


def test_no_step_is_long_and_the_next_kind_costs_no_look_at_any_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hosts = table(*[facts(f"h{n}", told=told(cell(0), cell(1))) for n in range(COUNT)])
    looks = Looks(monkeypatch)
    two = {"vcpus": 2, "memory_mb": 64}
    first = request(specs={"hw:numa_nodes": "2"}, size=two)
    each_step = [looks.taken() for _ in made_ready(first, hosts, ONLY)]
    assert sum(each_step) == COUNT
    assert max(each_step) <= ROOMS_AT_ONCE
    for specs in ({"hw:numa_nodes": "1"}, {"hw:numa_nodes": "2", "hw:mem_page_size": "large"}):
        asked = request(specs=specs, size=two)
        list(made_ready(asked, hosts, ONLY))
        assert len(fitting(asked, hosts, ONLY)) == (0 if "hw:mem_page_size" in specs else COUNT)
    assert looks.taken() == 0


def test_only_hosts_with_devices_are_asked_for_some(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = table(*[facts(f"h{n}", told=told(cell(0), gpu=n < 3)) for n in range(COUNT)])
    list(made_ready(request(specs={"hw:numa_nodes": "1"}), hosts, ONLY))
    looks = Looks(monkeypatch)
    assert list(fitting(WANTS, hosts, ONLY)) == [0, 1, 2]
    assert looks.taken() == 2 * 3  # one column of cells, one of devices


def test_news_that_is_not_about_cells_costs_no_look_at_them(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = table(*HOSTS)
    list(made_ready(WANTS, hosts, ONLY))
    looks = Looks(monkeypatch)
    for each in HOSTS:
        hosts.put(replace(each, state=MemberState.STALLED, io_ops=3, told=Told(dict(each.told.facts))))
        hosts.claim(each.host.host_id, {"VCPU": 1, "MEMORY_MB": 64})
    assert looks.taken() == 0
    hosts.claim(HOSTS[1].host.host_id, {"PCPU": 1})
    assert looks.taken() == 1  # however many kinds have asked


class OddNames:
    """A filter that asks for two columns and a resource class."""

    name = "OddNames"

    def __init__(self) -> None:
        self.count = 0

    def applies(self, request: PlacementRequest, table: HostTable) -> bool:
        return True

    def passes(self, request: PlacementRequest, table: HostTable) -> Mask:
        names = table.column("name", self._name)
        passing: Mask = table.mask("odd", self._is_odd) & (names != "") & (table.room_of("PCPU") >= 0)
        return passing

    def _name(self, found: HostFacts) -> object:
        self.count += 1
        return (found.host.name,)  # a sequence is one cell, too

    def _is_odd(self, found: HostFacts) -> bool:
        self.count += 1
        return int(found.host.name[1:]) % 2 == 1


def test_columns_that_a_new_kind_asks_for_are_made_in_steps() -> None:
    asks, hosts = OddNames(), table(*[facts(f"h{n}") for n in range(3 * HOSTS_AT_ONCE)])
    policy, before = Policy((asks,), ()), 0  # type: ignore[arg-type]
    for _ in made_ready(request(), hosts, policy):
        assert asks.count - before <= HOSTS_AT_ONCE
        before = asks.count
    assert asks.count == 2 * len(hosts)
    assert fitting(request(), hosts, policy).tolist() == list(range(1, len(hosts), 2))
    assert asks.count == 2 * len(hosts)
    assert hosts.column("name", asks._name)[7] == ("h7",)


def test_a_column_that_was_broken_off_is_made_by_the_next_who_asks() -> None:
    asks, hosts = OddNames(), table(*[facts(f"h{n}") for n in range(2 * HOSTS_AT_ONCE)])
    policy = Policy((asks,), ())  # type: ignore[arg-type]
    for steps_made in range(1, 8):
        other = hosts.copy()
        steps = made_ready(request(), other, policy)
        for _ in range(steps_made):
            next(steps, None)
        steps.close()  # type: ignore[attr-defined]
        assert fitting(request(), other, policy).tolist() == list(range(1, len(hosts), 2))


def test_a_table_lets_its_hosts_go_in_steps() -> None:
    hosts = table(*HOSTS)
    left = [len(hosts) for _ in hosts.emptied(step=100)]
    assert left == [200, 100, 0]
