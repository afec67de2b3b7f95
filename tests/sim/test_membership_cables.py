"""Scenarios 5, 6, 12 and 13: links that work one way, splits, bad frames, and connections that live and carry
nothing."""

from __future__ import annotations

import itertools

import pytest

from fabric.core.membership.config import MembershipConfig
from fabric.core.membership.events import LeaveRequested, LocalChanged
from fabric.core.membership.model import MemberState, RoleClaim
from tests.sim.membership_checks import (
    all_know_the_same,
    everybody_is_alive,
    nobody_was_wronged,
    require,
    whole_and_right,
)
from tests.sim.membership_faults import FrameFaults
from tests.sim.membership_scenes import names, settled
from tests.sim.membership_world import World
from tests.sim.seeds import few_seeds, seeds

ALIVE, SUSPECT = MemberState.ALIVE, MemberState.SUSPECT
AGENT_DOWN, HOST_DOWN, LEFT = MemberState.AGENT_DOWN, MemberState.HOST_DOWN, MemberState.LEFT


# ---- 5: asymmetric


@pytest.mark.parametrize(("count", "seed"), [*((6, s) for s in seeds(20)), *((20, s) for s in few_seeds(4))])
def test_one_way_cut_between_two_kills_neither(count: int, seed: int) -> None:
    world = settled(count, seed)
    one, other = linked_pair(world)
    world.cut(one, other)
    world.run_until(
        lambda: one in shown_bad(world, other) or other in shown_bad(world, one), within_ms=30_000
    )
    world.run(60_000)
    nobody_was_wronged(world)
    everybody_is_alive(world)
    world.heal()
    world.run(15_000)
    whole_and_right(world)


@pytest.mark.parametrize(("count", "seed"), [*((6, s) for s in seeds(20)), *((20, s) for s in few_seeds(2))])
def test_two_who_cannot_see_each_other_are_seen_by_all(count: int, seed: int) -> None:
    world = settled(count, seed)
    one, other = linked_pair(world)
    world.cut_both(one, other)
    world.run(60_000)
    nobody_was_wronged(world)
    everybody_is_alive(world)
    all_know_the_same(world)
    world.heal()
    world.run(15_000)
    whole_and_right(world)


def shown_bad(world: World, machine: str) -> set[str]:
    """Whom that node shows as one it gave up, though others reach it."""
    links = world.nodes[machine].running.links(world.now_ms)
    return {link.name for link in links if link.is_bad}


@pytest.mark.parametrize("mute", [True, False])
@pytest.mark.parametrize("seed", seeds(20))
def test_who_only_hears_or_only_speaks_drags_nobody_down(mute: bool, seed: int) -> None:
    """It may be called what it seems to be. Nobody else may."""
    world = settled(12, seed)
    half = world.rng.choice(names(12))
    world.nodes[half].blameless_from_ms = 1 << 60
    world.nodes[half].is_half_deaf = True
    for other in names(12):
        if other != half:
            world.network.cuts.add((half, other) if mute else (other, half))
    world.network.changed(world.nodes.values())
    world.run(90_000)
    nobody_was_wronged(world)
    others = [node.machine for node in world.running() if node.machine != half]
    for one, another in itertools.permutations(others, 2):
        require(world, world.sees(one, another) is ALIVE, f"{one} sees {another} {world.sees(one, another)}")
    world.heal()
    world.run_until(world.is_at_rest, within_ms=30_000)
    world.run(10_000)
    nobody_was_wronged(world)
    everybody_is_alive(world)


def linked_pair(world: World) -> tuple[str, str]:
    """Two neighbours."""
    node = world.rng.choice(world.running())
    link = world.rng.choice([link for link in node.links.values() if link.is_pinned and link.is_up])
    return node.machine, link.peer.machine


# ---- 6: splits


@pytest.mark.parametrize(
    ("count", "minutes", "seed"),
    [*((10, 1, s) for s in seeds(20)), *((20, 10, s) for s in few_seeds(2))],
)
def test_sixty_forty_split_and_heal(count: int, minutes: int, seed: int) -> None:
    world = settled(count, seed)
    shuffled = world.rng.sample(names(count), count)
    left, right = shuffled[: count * 2 // 5], shuffled[count * 2 // 5 :]
    world.split(left)
    world.run(1_000)
    claim = RoleClaim(role="api", fence=7, since_ms=1)
    world.tell(world.nodes[left[0]], LocalChanged(roles=(claim,)))
    world.run(minutes * 60_000)
    for one, other in itertools.product(left, right):
        require(world, world.sees(one, other) is HOST_DOWN, f"{one} sees {other} {world.sees(one, other)}")
        require(world, world.sees(other, one) is HOST_DOWN, f"{other} sees {one} {world.sees(other, one)}")
    for side in (left, right):
        for one, other in itertools.permutations(side, 2):
            require(world, world.sees(one, other) is ALIVE, f"{one} sees {other} {world.sees(one, other)}")
    world.heal()
    took_ms = world.run_until(world.is_at_rest, within_ms=60_000)
    require(world, took_ms <= 20_000, f"took {took_ms} ms")
    member = world.member(right[0], left[0])
    require(world, member is not None and member.record.roles == (claim,), "what was said meanwhile is known")
    world.run(10_000)
    whole_and_right(world)


@pytest.mark.parametrize("seed", seeds(20))
def test_three_way_split_heals_to_one_view(seed: int) -> None:
    world = settled(12, seed)
    shuffled = world.rng.sample(names(12), 12)
    world.split(shuffled[:4], shuffled[4:8])
    world.run(40_000)
    world.tell(world.nodes[shuffled[0]], LeaveRequested(for_good=True))
    world.run(50)
    world.crash(shuffled[0])
    world.crash(shuffled[5])
    world.run(2_000)
    world.heal()
    world.run_until(
        lambda: (
            world.is_at_rest()
            and world.everyone_sees(shuffled[0], LEFT)
            and world.everyone_sees(shuffled[5], AGENT_DOWN)
        ),
        within_ms=60_000,
    )
    world.run(10_000)
    whole_and_right(world)


@pytest.mark.parametrize("seed", seeds(20))
def test_split_that_outlives_the_tombstones_heals(seed: int) -> None:
    config = MembershipConfig(down_kept_ms=30_000, left_kept_ms=20_000, recheck_interval_ms=2_000)
    world = settled(10, seed, config=config)
    shuffled = world.rng.sample(names(10), 10)
    world.split(shuffled[:3])
    world.run(90_000)
    world.heal()
    world.run_until(world.is_at_rest, within_ms=60_000)
    world.run(10_000)
    nobody_was_wronged(world)
    everybody_is_alive(world)


@pytest.mark.parametrize("seed", seeds(20))
def test_short_flaps_of_a_switch_kill_nobody(seed: int) -> None:
    world = settled(10, seed)
    shuffled = world.rng.sample(names(10), 10)
    for _ in range(6):
        world.split(shuffled[:5])
        world.run(world.rng.randrange(100, 1_200))
        world.heal()
        world.run(world.rng.randrange(500, 5_000))
    world.run(10_000)
    require(world, world.downs == 0, "somebody was called down")
    whole_and_right(world)


# ---- 12: bad frames


@pytest.mark.parametrize(
    ("loss_percent", "seed"),
    [*((15, s) for s in seeds(20)), *((loss, s) for loss in (5, 30) for s in few_seeds(10))],
)
def test_lost_frames_kill_nobody_and_lose_no_news(loss_percent: int, seed: int) -> None:
    world = settled(10, seed)
    world.network.faults = FrameFaults(loss=loss_percent / 100)
    for second in range(60):
        world.tell(world.nodes["n5"], LocalChanged(labels={"second": str(second)}))
        world.run(1_000)
    nobody_was_wronged(world)
    require(world, world.downs == 0, "somebody was called down")
    world.run_until(lambda: everyone_has_label(world, "n5", "second", "59"), within_ms=8_000)
    world.network.faults = None
    world.run(8_000)
    whole_and_right(world)


@pytest.mark.parametrize("seed", seeds(20))
def test_frames_that_come_twice_late_and_in_any_order_do_no_harm(seed: int) -> None:
    world = settled(10, seed)
    world.network.faults = FrameFaults(loss=0.02, duplicates=0.2, delay_ms=(1, 1_000), keeps_order=False)
    for number in range(30):
        world.tell(world.nodes["n5"], LocalChanged(labels={"number": str(number)}))
        world.run(1_000)
    world.network.faults = None
    world.run_until(lambda: everyone_has_label(world, "n5", "number", "29"), within_ms=8_000)
    world.run(10_000)
    whole_and_right(world)


@pytest.mark.parametrize("seed", few_seeds(10))
def test_delays_of_seconds_may_cost_links_and_end_well(seed: int) -> None:
    """A second to ten each way: nobody can tell that from silence. Afterwards all is as it was."""
    world = settled(10, seed)
    world.is_watched = False
    world.network.faults = FrameFaults(delay_ms=(1_000, 10_000))
    world.run(60_000)
    world.network.faults = None
    world.run_until(world.is_at_rest, within_ms=60_000)
    world.is_watched = True
    world.run(20_000)
    whole_and_right(world)


@pytest.mark.parametrize("seed", seeds(20))
def test_damaged_frames_are_dropped_and_counted(seed: int) -> None:
    world = settled(10, seed)
    world.network.faults = FrameFaults(flipped=0.02, truncated=0.02, oversized=0.01, unknown_version=0.02)
    for number in range(30):
        world.tell(world.nodes["n5"], LocalChanged(labels={"number": str(number)}))
        world.run(1_000)
    world.network.faults = None
    world.run(15_000)
    dropped = sum(
        (node.dropped for node in world.nodes.values()), start=world.nodes["n1"].dropped.__class__()
    )
    for reason in ("malformed", "frame_too_long", "unknown_version"):
        require(world, dropped[reason] > 0, f"none was dropped as {reason}: {dropped}")
    require(world, world.downs == 0, "somebody was called down")
    require(world, everyone_has_label(world, "n5", "number", "29"), "the newest is everywhere")
    whole_and_right(world)


def everyone_has_label(world: World, machine: str, label: str, value: str) -> bool:
    members = [world.member(node.machine, machine) for node in world.running() if node.machine != machine]
    return all(m is not None and m.record.labels.get(label) == value for m in members)


# ---- 13: links that seem alive


@pytest.mark.parametrize("both_ways", [False, True])
@pytest.mark.parametrize("seed", seeds(20))
def test_wedged_link_is_found_and_does_not_stop_news(both_ways: bool, seed: int) -> None:
    """defradb.rs #1092: the send path is dead behind a connection that lives."""
    world = settled(12, seed)
    one, other = linked_pair(world)
    wedged = {(one, other), (other, one)} if both_ways else {(one, other)}
    for source, target in wedged:
        link = world.nodes[source].links.get(world.nodes[target].node_id)
        if link is not None:
            link.is_wedged = True
    world.run(2_500)
    for number in range(10):
        world.tell(world.nodes[one], LocalChanged(labels={"number": str(number)}))
        world.run_until(lambda: everyone_has_label(world, one, "number", str(number)), within_ms=4_000)  # noqa: B023
        world.run(3_000)
    nobody_was_wronged(world)
    require(world, world.downs == 0, "somebody was called down")
    world.run(10_000)
    everybody_is_alive(world)
    all_know_the_same(world)


@pytest.mark.parametrize("seed", seeds(20))
def test_half_open_connections_after_a_fast_power_cycle(seed: int) -> None:
    """No RST was heard: the others' links look alive until the machine that came back refuses them."""
    world = settled(10, seed)
    world.power_off("n4")
    world.run(world.rng.randrange(200, 1_500))
    world.start("n4")
    took_ms = world.run_until(world.all_alive, within_ms=10_000)
    require(world, took_ms <= 2_000, f"took {took_ms} ms")
    world.run(10_000)
    require(world, world.downs == 0, "somebody was called down")
    whole_and_right(world)


@pytest.mark.parametrize("seed", few_seeds(10))
def test_full_queues_of_a_stuck_reader_hold_up_nobody_else(seed: int) -> None:
    world = settled(8, seed)
    world.hold("n3", 15_000)
    for number in range(150):
        for machine in ("n1", "n2", "n4", "n5", "n6", "n7", "n8"):
            world.tell(world.nodes[machine], LocalChanged(labels={"number": str(number)}))
        world.run(100)
    world.run(500)  # who hangs below the stuck one on the tree is told by a lazy link
    for machine in ("n1", "n2", "n4"):
        for other in ("n5", "n6"):
            member = world.member(other, machine)
            require(world, member is not None and member.record.labels["number"] == "149", "news was held up")
    world.run(15_000)
    require(world, world.downs == 0, "somebody was called down")
    whole_and_right(world)
