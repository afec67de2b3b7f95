"""Scenarios 3, 4, 7 and 8: who dies, leaves or restarts is seen as what it is, by all and in time."""

from __future__ import annotations

import pytest

from fabric.core.membership.events import LeaveRequested, PeerRemoved
from fabric.core.membership.model import MemberState
from tests.fixtures.membership_nodes import fake_removal
from tests.sim.membership_checks import (
    all_know_the_same,
    everybody_is_alive,
    nobody_was_wronged,
    overlay_is_one_piece,
    require,
    the_gone_are_gone,
    whole_and_right,
)
from tests.sim.membership_node import Disk
from tests.sim.membership_scenes import names, settled
from tests.sim.membership_world import World
from tests.sim.seeds import few_seeds, seeds

ALIVE, SUSPECT, STALLED = MemberState.ALIVE, MemberState.SUSPECT, MemberState.STALLED
AGENT_DOWN, HOST_DOWN = MemberState.AGENT_DOWN, MemberState.HOST_DOWN
LEAVING, LEFT = MemberState.LEAVING, MemberState.LEFT

# (nodes, seed): small fabrics for every seed, large ones for a few. Times are flat in N.
SIZES = [
    *((10, seed) for seed in seeds(20)),
    *((3, seed) for seed in seeds(20)),
    *((30, seed) for seed in few_seeds(2)),
    *((100, seed) for seed in few_seeds(1)),
]
AGENT_DEATH_MS = 1_500
HOST_SILENCE_MS = 4_500
HALF_DEAD_MS = 6_000
SWIFT_RESTART_MS = 500


@pytest.mark.parametrize(("count", "seed"), SIZES)
def test_a_killed_agent_is_known_to_all_and_told_from_a_dead_host(count: int, seed: int) -> None:
    world = settled(count, seed)
    victim = world.rng.choice(names(count))
    world.crash(victim)
    took_ms = world.run_until(lambda: world.everyone_sees(victim, AGENT_DOWN), within_ms=20_000)
    require(world, took_ms <= AGENT_DEATH_MS, f"took {took_ms} ms")
    world.run(15_000)
    the_gone_are_gone(world, states=[AGENT_DOWN])
    whole_and_right(world)


@pytest.mark.parametrize(("count", "seed"), SIZES)
def test_a_silent_host_is_down_in_time(count: int, seed: int) -> None:
    world = settled(count, seed)
    victim = world.rng.choice(names(count))
    world.power_off(victim)
    took_ms = world.run_until(lambda: world.everyone_sees(victim, HOST_DOWN), within_ms=30_000)
    require(world, took_ms <= HOST_SILENCE_MS, f"took {took_ms} ms")
    world.run(15_000)
    the_gone_are_gone(world, states=[HOST_DOWN])
    whole_and_right(world)


@pytest.mark.parametrize("seed", seeds(20))
def test_a_host_that_dies_after_its_agent_is_not_up_for_ever(seed: int) -> None:
    world = settled(5, seed)
    world.crash("n3")
    world.run(5_000)
    require(world, world.everyone_sees("n3", AGENT_DOWN), "the agent is down")
    world.power_off("n3")
    world.run_until(lambda: world.everyone_sees("n3", HOST_DOWN), within_ms=30_000)
    world.run(5_000)
    whole_and_right(world)


@pytest.mark.parametrize(("count", "seed"), SIZES[::7])
def test_who_leaves_for_good_has_left_at_once_and_never_dies(count: int, seed: int) -> None:
    world = settled(count, seed)
    machine = world.rng.choice(names(count))
    world.tell(world.nodes[machine], LeaveRequested(for_good=True))
    world.run(50)
    world.crash(machine)
    took_ms = world.run_until(lambda: world.everyone_sees(machine, LEFT), within_ms=10_000)
    require(world, took_ms <= 500, f"took {took_ms} ms")
    world.run(15_000)
    require(world, world.everyone_sees(machine, LEFT), "it left")
    require(world, world.downs == 0, "somebody called it down")
    whole_and_right(world)


@pytest.mark.parametrize("seed", seeds(20))
def test_planned_restart_within_the_grace_is_no_death(seed: int) -> None:
    world = settled(8, seed)
    world.tell(world.nodes["n2"], LeaveRequested())
    world.run(50)
    world.crash("n2")
    world.run_until(lambda: world.everyone_sees("n2", LEAVING), within_ms=500)
    world.run(world.rng.randrange(1_000, world.config.restart_grace_ms - 1_000))
    require(world, world.everyone_sees("n2", LEAVING), "it may be back")
    world.start("n2")
    took_ms = world.run_until(world.all_alive, within_ms=10_000)
    require(world, took_ms <= SWIFT_RESTART_MS, f"took {took_ms} ms")
    require(world, world.downs == 0, "somebody called it down")
    world.run(5_000)
    whole_and_right(world)


@pytest.mark.parametrize("seed", seeds(20))
def test_planned_restart_that_never_ends_has_left(seed: int) -> None:
    world = settled(6, seed)
    world.tell(world.nodes["n2"], LeaveRequested())
    world.run(50)
    world.crash("n2")
    world.run(world.config.restart_grace_ms - 2_000)
    require(world, world.everyone_sees("n2", LEAVING), "it may be back")
    world.run(4_000)
    require(world, world.everyone_sees("n2", LEFT), "it left")
    require(world, world.downs == 0, "somebody called it down")
    whole_and_right(world)


@pytest.mark.parametrize("seed", seeds(20))
def test_one_node_that_missed_a_farewell_learns_it_from_others(seed: int) -> None:
    world = settled(6, seed)
    world.split(["n1"])
    world.run(10_000)
    world.tell(world.nodes["n4"], LeaveRequested(for_good=True))
    world.run(50)
    world.crash("n4")
    world.heal()
    world.run_until(lambda: world.everyone_sees("n4", LEFT), within_ms=20_000)
    world.run(10_000)
    whole_and_right(world)


@pytest.mark.parametrize(
    ("count", "seed"),
    [*((10, s) for s in seeds(20)), *((30, s) for s in few_seeds(2)), *((100, s) for s in few_seeds(1))],
)
def test_half_of_all_are_killed_at_once(count: int, seed: int) -> None:
    world = settled(count, seed)
    dead = world.rng.sample(names(count), count // 2)
    for machine in dead:
        world.crash(machine)
    took_ms = world.run_until(
        lambda: all(world.everyone_sees(machine, AGENT_DOWN) for machine in dead), within_ms=60_000
    )
    require(world, took_ms <= HALF_DEAD_MS, f"took {took_ms} ms")
    world.run(10_000)
    whole_and_right(world)


@pytest.mark.parametrize(("count", "seed"), [*((15, s) for s in seeds(20)), *((50, s) for s in few_seeds(2))])
def test_half_then_four_fifths_lose_power_in_the_same_tick(count: int, seed: int) -> None:
    world = settled(count, seed)
    for share in (2, 5):
        left = [node.machine for node in world.running()]
        dead = world.rng.sample(left, len(left) // 2 if share == 2 else len(left) * 4 // 5)
        for machine in dead:
            world.power_off(machine)
        took_ms = world.run_until(
            lambda: all(world.everyone_sees(machine, HOST_DOWN) for machine in dead),  # noqa: B023
            within_ms=90_000,
        )
        require(world, took_ms <= 15_000, f"took {took_ms} ms")
        world.run(5_000)
        nobody_was_wronged(world)
        everybody_is_alive(world)
        overlay_is_one_piece(world)
    world.run(10_000)
    whole_and_right(world)


@pytest.mark.parametrize("seed", seeds(20))
def test_restart_before_anyone_noticed(seed: int) -> None:
    world = settled(8, seed)
    world.crash("n2")
    world.run(world.rng.randrange(1, 800))
    world.start("n2")
    epoch = world.nodes["n2"].disk.epoch
    took_ms = world.run_until(lambda: everyone_has_epoch(world, "n2", epoch), within_ms=10_000)
    require(world, took_ms <= SWIFT_RESTART_MS, f"took {took_ms} ms")
    world.run(5_000)
    require(world, world.downs == 0, "somebody called it down")
    whole_and_right(world)


@pytest.mark.parametrize("seed", seeds(20))
def test_twenty_restarts_in_twenty_seconds(seed: int) -> None:
    world = settled(8, seed)
    for _ in range(20):
        world.crash("n2")
        world.run(world.rng.randrange(1, 900))
        world.start("n2")
        world.run(world.rng.randrange(1, 900))
    world.run_until(world.is_at_rest, within_ms=10_000)
    world.run(20_000)
    whole_and_right(world)
    require(world, everyone_has_epoch(world, "n2", 22), "the last life is known to all")


@pytest.mark.parametrize("seed", seeds(20))
def test_restart_on_another_port_is_found_by_all(seed: int) -> None:
    world = settled(6, seed)
    world.crash("n2")
    world.run(world.rng.choice([100, 20_000]))
    world.start("n2", port=7_100)
    took_ms = world.run_until(world.all_alive, within_ms=10_000)
    require(world, took_ms <= 2_000, f"took {took_ms} ms")
    world.run(5_000)
    whole_and_right(world)


@pytest.mark.parametrize("seed", seeds(20))
def test_lost_or_restored_epoch_is_outgrown(seed: int) -> None:
    """The disk is new, or as it was ten lives ago: the fabric remembers, and the node outbids itself."""
    world = settled(7, seed)
    backup = world.nodes["n2"].disk
    for _ in range(10):
        world.crash("n2")
        world.run(200)
        world.start("n2")
        world.run(2_000)
    world.crash("n2")
    world.restore("n2", world.rng.choice([Disk(epoch=0, states=backup.states), backup]))
    world.run(world.rng.choice([50, 5_000]))
    world.start("n2")
    world.run_until(world.all_alive, within_ms=10_000)
    world.run(5_000)
    whole_and_right(world)
    epoch = world.nodes["n2"].running.me.epoch
    require(world, epoch >= 13, f"epoch {epoch}")
    require(world, world.nodes["n2"].disk.epoch == epoch, "made durable")
    require(world, everyone_has_epoch(world, "n2", epoch), "known to all")


@pytest.mark.parametrize("seed", seeds(20))
def test_a_whole_fabric_restarts_with_old_accusations_in_flight(seed: int) -> None:
    """memberlist #311: everybody was called dead by somebody just before everybody restarts."""
    count = 12
    world = settled(count, seed)
    order = world.rng.sample(names(count), count)
    world.is_watched = False  # while a split makes everybody accuse everybody
    world.split(order[:4], order[4:8])
    world.run(20_000)
    world.network.cuts.clear()
    world.network.changed(world.nodes.values())
    world.run(world.rng.randrange(500))  # verdicts begin to meet
    pause_ms = 30_000 // count
    for machine in order:
        world.crash(machine)
        world.run(world.rng.randrange(pause_ms))
        if world.rng.random() < 0.3:
            world.restore(machine, Disk(epoch=0, states=world.nodes[machine].disk.states))
        world.start(machine)
        world.run(world.rng.randrange(pause_ms))
    world.heal()
    world.is_watched = True
    world.run_until(world.is_at_rest, within_ms=30_000)
    world.run(20_000)
    whole_and_right(world)


@pytest.mark.parametrize("seed", seeds(20))
def test_a_whole_fabric_comes_back_from_a_power_cut(seed: int) -> None:
    count = 12
    world = settled(count, seed)
    world.run(6_000)  # disks are written
    for machine in names(count):
        world.power_off(machine)
    world.run(120_000)
    for machine in world.rng.sample(names(count), count):
        world.start(machine)
        world.run(world.rng.randrange(3_000))
    world.run_until(world.all_alive, within_ms=10_000)
    world.run(10_000)
    everybody_is_alive(world)
    all_know_the_same(world)


@pytest.mark.parametrize("seed", seeds(20))
def test_a_removed_node_is_refused_everywhere_within_a_second(seed: int) -> None:
    world = settled(12, seed)
    out = world.nodes["n5"]
    before = out.disk
    out.is_half_deaf = True  # it may not even hear why nobody speaks to it
    world.tell(world.nodes["n1"], PeerRemoved(fake_removal(out.node_id)))
    world.run(1_000)
    others = [node for node in world.running() if node is not out]
    require(world, not any(out.node_id in node.admitted for node in others), "it is admitted still")
    require(world, not any(link.owner is out for node in others for link in node.inbound), "it has a link")
    # It comes back with an old disk, and somebody who slept through it all vouches for it.
    world.crash("n5")
    world.restore("n5", before)
    world.start("n5")
    world.run(20_000)
    require(world, not any(out.node_id in node.admitted for node in others), "it got in again")
    states = {node.view.get(out.node_id) for node in others}
    require(world, states <= {None, MemberState.FORGOTTEN}, f"{states}")
    world.crash("n5")
    world.run(1_000)
    nobody_was_wronged(world)
    everybody_is_alive(world)
    all_know_the_same(world)
    the_gone_are_gone(world)


def everyone_has_epoch(world: World, machine: str, epoch: int) -> bool:
    members = [world.member(node.machine, machine) for node in world.running() if node.machine != machine]
    return all(m is not None and m.record.epoch == epoch and m.state is ALIVE for m in members)
