"""Plans of moves: nearer to even, never against a filter, disabled hosts first."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from fabric.core.placement.choose import claim, fitting
from fabric.core.placement.host_facts import HostFacts
from fabric.core.placement.host_table import HostTable
from fabric.core.placement.policy import policy_of
from fabric.core.placement.rebalance import Placed, Plan, Reason, plan
from fabric.core.placement.request import PlacementRequest
from fabric.core.placement.settings import PlacementSettings
from fabric.core.server_groups.model import GroupPolicy
from proto.ids import NodeId
from tests.fixtures.placement_rows import aggregate, facts, group, members, request, table

POLICY = policy_of(PlacementSettings())
SIZE = {"vcpus": 1, "memory_mb": 512}


def held(
    *placed: tuple[str, PlacementRequest], others: tuple[HostFacts, ...] = ()
) -> tuple[HostTable, list[Placed]]:
    """Hosts with these servers on them, and hosts without any."""
    names = dict.fromkeys(name for name, _ in placed)
    found = [facts(name) for name in names]
    for name, asked in placed:
        place = list(names).index(name)
        found[place] = found[place].with_claim(asked.resources.total())
    hosts = table(*found, *others)
    return hosts, [Placed(request=asked, host_id=facts(name).host.host_id) for name, asked in placed]


def moves(found: Plan) -> list[tuple[str, str]]:
    return [(move.source, move.target) for move in found.moves]


def test_the_busiest_host_gives_to_the_idle_ones_until_it_is_even() -> None:
    servers = [("a", request(f"s{number}", size=SIZE)) for number in range(6)]
    hosts, placed = held(*servers, others=(facts("b"), facts("c")))
    found = plan(placed, hosts, POLICY, moves_max=10)
    assert sorted(moves(found)) == [("a", "b"), ("a", "b"), ("a", "c"), ("a", "c")]
    assert found.spread_after["VCPU"] < 0.001 < found.spread_before["VCPU"]
    first = found.moves[0]
    assert (first.reason, first.source_before["VCPU"], first.source_after["VCPU"]) == (
        Reason.UNEVEN,
        6 / 8,
        5 / 8,
    )
    assert (first.target_before["VCPU"], first.target_after["VCPU"]) == (0.0, 1 / 8)
    assert hosts.free["VCPU"][0] == 8 - 6, "the table given was written to"


def test_what_is_even_stays() -> None:
    hosts, placed = held(("a", request("s1", size=SIZE)), ("b", request("s2", size=SIZE)))
    assert plan(placed, hosts, POLICY, moves_max=10).moves == ()


def test_no_more_moves_than_asked_for() -> None:
    servers = [("a", request(f"s{number}", size=SIZE)) for number in range(6)]
    hosts, placed = held(*servers, others=(facts("b"),))
    assert len(plan(placed, hosts, POLICY, moves_max=2).moves) == 2


def test_disabled_hosts_are_emptied_first_and_who_cannot_leave_is_told() -> None:
    free, bound = request("free", size=SIZE), request("bound", host_name="off")
    servers = [("busy", request(f"s{number}", size=SIZE)) for number in range(4)]
    hosts, placed = held(*servers, ("off", free), ("off", bound), others=(facts("idle"),))
    off = hosts.place[facts("off").host.host_id]
    hosts.put(facts("off", enabled=False, used=hosts.hosts[off].used, servers=2))
    found = plan(placed, hosts, POLICY, moves_max=10)
    assert (found.moves[0].server_id, found.moves[0].reason) == (free.server_id, Reason.HOST_DISABLED)
    assert moves(found)[0] == ("off", "idle")
    assert found.stuck == ((bound.server_id, "off"),)
    assert {move.reason for move in found.moves[1:]} == {Reason.UNEVEN}


def test_a_group_that_is_to_be_apart_stays_apart() -> None:
    apart = group(GroupPolicy.ANTI_AFFINITY)
    servers = [
        ("a", request("s1", size=SIZE, group=apart)),
        ("a", request("s3", size=SIZE)),
        ("a", request("s4", size=SIZE)),
    ]
    hosts, placed = held(*servers, ("b", request("s2", group=apart)))
    hosts.surround(table(*hosts.hosts, group_hosts=members(a=1, b=1)).around)
    found = plan(placed, hosts, POLICY, moves_max=10)
    assert moves(found) == [("a", "b")]
    assert found.moves[0].server_id != servers[0][1].server_id
    assert hosts.group_counts["group-1"] == {0: 1, 1: 1}


def test_a_host_that_is_better_in_all_but_its_load_gives_all_the_same() -> None:
    """Placed anew the servers would go to it again: it has their image, more disk and a newer hypervisor."""
    asked = [request(f"s{number}", size=SIZE) for number in range(4)]
    best = facts("a", disk_gb=9_000, hypervisor_version=9, images=frozenset({asked[0].image_id}))
    for each in asked:
        best = best.with_claim(each.resources.total())
    hosts = table(replace(best, io_ops=0), facts("b"))
    found = plan(
        [Placed(request=each, host_id=best.host.host_id) for each in asked], hosts, POLICY, moves_max=9
    )
    assert moves(found) == [("a", "b"), ("a", "b")]


def test_a_zone_is_not_left() -> None:
    servers = [("a", request(f"s{number}", size=SIZE, zone="nova")) for number in range(4)]
    hosts, placed = held(*servers, others=(facts("b", zone="other"),))
    assert plan(placed, hosts, POLICY, moves_max=10).moves == ()


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from([1, 2, 8, 16]), st.booleans()), max_size=24),
    st.integers(1, 12),
)
def test_every_move_is_allowed_when_its_turn_comes_and_brings_it_nearer(
    given_servers: list[tuple[int, int, bool]], most: int
) -> None:
    names = ("a", "b", "c", "d")
    hosts = table(*map(facts, names), aggregates=(aggregate("fast", [facts("a"), facts("b")], ssd="true"),))
    ids: list[NodeId] = [facts(name).host.host_id for name in names]
    placed = []
    for number, (place, vcpus, is_fast) in enumerate(given_servers):
        specs = {"aggregate_instance_extra_specs:ssd": "true"} if is_fast else {}
        asked = request(f"s{number}", size={"vcpus": vcpus, "memory_mb": vcpus * 100}, specs=specs)
        host_id = ids[place % 2 if is_fast else place]
        claim(asked, host_id, hosts)
        placed.append(Placed(request=asked, host_id=host_id))
    found = plan(placed, hosts, POLICY, moves_max=most)
    assert len(found.moves) <= most
    assert len({move.server_id for move in found.moves}) == len(found.moves), "a server moves once"
    wanted = {each.request.server_id: each.request for each in placed}
    for move in found.moves:
        asked = wanted[move.server_id]
        hosts.release(ids[names.index(move.source)], asked.resources.total())
        assert names.index(move.target) in fitting(asked, hosts, POLICY)
        claim(asked, ids[names.index(move.target)], hosts)
    if found.moves:
        assert sum(found.spread_after.values()) < sum(found.spread_before.values())
