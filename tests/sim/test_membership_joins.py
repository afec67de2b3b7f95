"""Scenarios 1 and 2 of design/gossip.md: a whole fabric joins at once, and joins with everything wrong."""

from __future__ import annotations

import pytest

from fabric.core.membership.events import Received
from fabric.core.membership.model import MemberState
from proto.envelope import encode, fabric_tag
from proto.ids import FabricId
from proto.membership import Ping
from tests.sim.membership_checks import (
    all_know_the_same,
    everybody_is_alive,
    nobody_was_wronged,
    require,
    the_gone_are_gone,
    whole_and_right,
)
from tests.sim.membership_network import Packet
from tests.sim.membership_node import Disk
from tests.sim.membership_scenes import names, settled
from tests.sim.membership_world import World
from tests.sim.seeds import few_seeds, seeds

JOIN_SPREAD_MS = 300  # how far apart the first and the last of a mass join knock
ALIVE = MemberState.ALIVE


def mass_join(world: World, count: int, *, door_dies: bool = False) -> int:
    """All knock at n1's door at once. Milliseconds from the last knock until all see all alive. With
    `door_dies` n1 dies when it has answered half of them, and the others go to one it has let in."""
    machines = names(count)
    world.start("n1")
    world.run(1_000)
    moments = sorted(world.rng.randrange(JOIN_SPREAD_MS) for _ in machines[1:])
    start_ms = world.now_ms
    door = "n1"
    for number, (machine, moment) in enumerate(zip(machines[1:], moments, strict=True)):
        world.run(start_ms + moment - world.now_ms)
        if door_dies and number == count // 2:
            world.run(10)  # its last answers are told; else only its log would know
            world.crash("n1")
            door = world.rng.choice(machines[1 : number + 1])
        world.join(machine, through=door)
    step_ms = 10 if count <= 100 else 50
    return world.run_until(world.all_alive, within_ms=30_000, step_ms=step_ms)


@pytest.mark.parametrize("seed", seeds(20))
def test_thirty_nodes_join_at_once_and_none_is_left_behind(seed: int) -> None:
    world = World(seed)
    assert mass_join(world, 30) <= 3_000
    world.run_until(world.roots_agree, within_ms=5_000)
    world.run(5_000)
    whole_and_right(world)


@pytest.mark.parametrize("seed", few_seeds(2))
def test_a_hundred_nodes_join_at_once(seed: int) -> None:
    world = World(seed)
    assert mass_join(world, 100) <= 3_000
    world.run_until(world.roots_agree, within_ms=5_000)
    world.run(5_000)
    whole_and_right(world)


@pytest.mark.parametrize("seed", seeds(20))
def test_the_door_dies_when_half_have_joined(seed: int) -> None:
    world = World(seed)
    assert mass_join(world, 20, door_dies=True) <= 5_000
    world.run_until(lambda: world.everyone_sees("n1", MemberState.AGENT_DOWN), within_ms=5_000)
    world.run_until(world.roots_agree, within_ms=5_000)
    whole_and_right(world)


@pytest.mark.slow
@pytest.mark.parametrize("seed", few_seeds(1))
def test_five_hundred_nodes_join_through_a_door_that_dies(seed: int) -> None:
    world = World(seed)
    assert mass_join(world, 500, door_dies=True) <= 5_000
    world.run_until(lambda: world.everyone_sees("n1", MemberState.AGENT_DOWN), within_ms=5_000)
    world.run_until(world.roots_agree, within_ms=10_000)
    nobody_was_wronged(world)
    everybody_is_alive(world)


@pytest.mark.parametrize("seed", seeds(20))
def test_one_node_joins_a_running_fabric_through_any_member(seed: int) -> None:
    world = settled(12, seed)
    world.join("late", through=world.rng.choice(names(12)))
    assert world.run_until(world.all_alive, within_ms=10_000) <= 1_000
    world.run(5_000)
    whole_and_right(world)


@pytest.mark.parametrize("seed", seeds(20))
def test_join_with_dead_seeds_and_the_snapshot_of_a_long_gone_fabric(seed: int) -> None:
    """The newcomer's disk knows twenty machines nobody can find any more, and three members who are down."""
    world = settled(9, seed)
    gone = names(9)[6:]
    for machine in gone:
        world.power_off(machine)
    world.run_until(
        lambda: all(world.everyone_sees(m, MemberState.HOST_DOWN) for m in gone), within_ms=10_000
    )
    ghosts = [world.boot(f"ghost{number}") for number in range(20)]
    snapshot = tuple(node.running.own_state for node in ghosts)
    for node in ghosts:
        world.power_off(node.machine)
    world.restore_new("late", Disk(epoch=0, states=snapshot))
    world.join("late", through="n1")
    assert world.run_until(world.all_alive, within_ms=10_000) <= 2_000
    world.run(60_000)
    whole_and_right(world)
    for node in ghosts:
        states = {viewer.view.get(node.node_id) for viewer in world.running()}
        require(world, ALIVE not in states, f"{node.machine} was raised from the dead: {states}")


@pytest.mark.parametrize("seed", seeds(20))
def test_nobody_gets_in_without_a_certificate_or_with_another_fabrics_frames(seed: int) -> None:
    world = settled(6, seed)
    intruder = world.node("intruder")
    intruder.forged_certificate = b"self-made"
    known = [node.running.own_state for node in world.running()]
    world.start("intruder", known=known)
    world.run(10_000)
    members = [node for node in world.running() if node is not intruder]
    for node in members:
        require(world, intruder.node_id not in node.view, f"{node.machine} knows the intruder")
        require(world, intruder.node_id not in node.admitted, f"{node.machine} admits the intruder")
        require(world, not any(link.owner is intruder for link in node.inbound), "the intruder has a link")
    # Somebody with a link, whose frames are of another fabric.
    foreign = Packet(members[0].node_id, Ping.KIND, encode(Ping(nonce=1), fabric_tag(FabricId("another"))))
    world.network.post(members[0], [node.node_id for node in members[1:]], foreign)
    world.run(100)
    require(
        world, sum(node.dropped["wrong_fabric"] for node in members) == 5, "a foreign frame was not dropped"
    )
    # Hearsay about the intruder from a member is not believed either.
    world.tell(members[1], Received(members[0].node_id, world.news_of(intruder)))
    world.run(100)
    require(world, intruder.node_id not in members[1].view, "hearsay let the intruder in")
    world.crash("intruder")
    world.run(1_000)
    nobody_was_wronged(world)
    everybody_is_alive(world)
    all_know_the_same(world)
    the_gone_are_gone(world)
