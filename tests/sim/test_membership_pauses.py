"""Scenarios 9, 10 and 11: who sleeps, lags or is starved accuses nobody, raises nobody, and is told apart
from the dead."""

from __future__ import annotations

import pytest

from fabric.core.membership.config import MembershipConfig
from fabric.core.membership.events import LeaveRequested
from fabric.core.membership.model import MemberState
from tests.sim.membership_checks import (
    DOWN,
    all_know_the_same,
    everybody_is_alive,
    nobody_was_wronged,
    require,
    the_gone_are_gone,
    whole_and_right,
)
from tests.sim.membership_scenes import names, settled
from tests.sim.seeds import few_seeds, seeds

ALIVE, SUSPECT, STALLED = MemberState.ALIVE, MemberState.SUSPECT, MemberState.STALLED
AGENT_DOWN, HOST_DOWN, LEFT = MemberState.AGENT_DOWN, MemberState.HOST_DOWN, MemberState.LEFT

# Hours as twenty seconds: what is measured in days is as long, the rest as it is.
HOUR_MS = 20_000
SHORT = MembershipConfig(down_kept_ms=72 * HOUR_MS, left_kept_ms=24 * HOUR_MS)


# ---- 9: laggards


@pytest.mark.parametrize(
    ("hours", "seed"),
    [*((25, s) for s in seeds(20)), *((hours, s) for hours in (1, 80) for s in few_seeds(10))],
)
def test_laggard_wakes_after_hours_and_raises_nobody(hours: int, seed: int) -> None:
    """memberlist #312. While n6's machine was suspended two died, one left, and tombstones came and went."""
    world = settled(6, seed, config=SHORT)
    world.run(6_000)
    world.suspend("n6", hours * HOUR_MS, clock_runs=world.rng.random() < 0.5)
    world.run(5_000)
    world.tell(world.nodes["n3"], LeaveRequested(for_good=True))
    world.run(50)
    world.crash("n3")
    world.crash("n4")
    world.power_off("n5")
    world.run(hours * HOUR_MS - 5_000)
    world.run_until(world.all_alive, within_ms=10_000, step_ms=50)
    world.run(60_000)
    nobody_was_wronged(world)
    everybody_is_alive(world)
    all_know_the_same(world)
    the_gone_are_gone(world)


@pytest.mark.parametrize("seed", seeds(20))
def test_laggard_restarts_over_an_old_disk_and_raises_nobody(seed: int) -> None:
    config = MembershipConfig(down_kept_ms=40_000, left_kept_ms=25_000)
    world = settled(9, seed, config=config)
    world.run(6_000)
    old = world.nodes["n9"].disk
    world.power_off("n9")
    world.run(3_000)
    world.tell(world.nodes["n3"], LeaveRequested(for_good=True))
    world.run(50)
    world.crash("n3")
    world.power_off("n4")
    world.run(world.rng.choice([1_000, 30_000, 120_000]))
    world.restore("n9", old)
    world.start("n9")
    world.run_until(world.all_alive, within_ms=15_000)
    world.run(90_000)  # longer than all tombstones
    nobody_was_wronged(world)
    everybody_is_alive(world)
    the_gone_are_gone(world)


# ---- 10: clocks


@pytest.mark.parametrize("clock_runs", [True, False])
@pytest.mark.parametrize("seed", seeds(20))
def test_suspended_for_ten_minutes(clock_runs: bool, seed: int) -> None:
    """Its monotonic clock jumps, or lost the time. Wall clocks cannot matter: the core has none."""
    world = settled(8, seed)
    world.suspend("n2", 600_000, clock_runs=clock_runs)
    world.run(30_000)
    require(world, world.everyone_sees("n2", HOST_DOWN), "silence is all the others can know")
    world.run(600_000 - 30_000 - 1)
    downs = world.downs
    took_ms = world.run_until(world.all_alive, within_ms=30_000)
    require(world, took_ms <= 5_000, f"took {took_ms} ms")
    world.run(20_000)
    require(world, world.downs == downs, "it woke and accused somebody")
    whole_and_right(world)


@pytest.mark.parametrize("seed", seeds(20))
def test_all_are_suspended_at_once(seed: int) -> None:
    """The whole laboratory was paused by its hypervisor. Nobody died."""
    world = settled(8, seed)
    for machine in names(8):
        world.suspend(machine, 60_000 + world.rng.randrange(300), clock_runs=world.rng.random() < 0.5)
    world.run(60_000)
    world.run_until(world.all_alive, within_ms=20_000)
    world.run(10_000)
    whole_and_right(world)
    require(world, world.downs == 0, "somebody was called down")


# ---- 11: overload


@pytest.mark.parametrize(
    ("starved", "seed"), [*((4, s) for s in few_seeds(5)), *((8, s) for s in few_seeds(6))]
)
def test_starved_processes_drag_nobody_down(starved: int, seed: int) -> None:
    """As measured with Serf: SIGSTOP for 2 to 16 s, SIGCONT for half a second, for a minute. Then a true
    death among them is still found."""
    world = settled(30, seed)
    victims = world.rng.sample(names(30), starved)
    pause_ms = {victim: world.rng.choice([2_000, 8_000, 16_000]) for victim in victims}
    end_ms = world.now_ms + 60_000
    resume_ms = {victim: world.now_ms + world.rng.randrange(1_000) for victim in victims}
    while world.now_ms < end_ms:
        for victim in victims:
            if world.now_ms >= resume_ms[victim]:
                world.stop(victim, pause_ms[victim])
                resume_ms[victim] = world.now_ms + pause_ms[victim] + 500
        world.run(50)
    nobody_was_wronged(world)
    others = [machine for machine in names(30) if machine not in victims]
    for viewer in others:
        for subject in others:
            if viewer != subject:
                require(world, world.sees(viewer, subject) is ALIVE, f"{viewer} sees {subject} not alive")
    dead = victims[0]
    if world.nodes[dead].core is not None:
        world.crash(dead)
    world.run_until(lambda: world.everyone_sees(dead, AGENT_DOWN, but=victims), within_ms=15_000)
    world.run(30_000)
    whole_and_right(world)


@pytest.mark.parametrize(("count", "seed"), [*((10, s) for s in seeds(20)), *((30, s) for s in few_seeds(2))])
def test_gil_held_for_eight_seconds_is_no_death(count: int, seed: int) -> None:
    world = settled(count, seed)
    stuck = world.rng.choice(names(count))
    world.hold(stuck, 8_000)
    world.run(7_900)
    require(world, world.everyone_sees(stuck, STALLED, SUSPECT), "a stuck agent takes no work")
    world.run(100)
    world.run_until(world.all_alive, within_ms=3_000)
    world.run(10_000)
    require(world, world.downs == 0, "somebody was called down")
    whole_and_right(world)


@pytest.mark.parametrize("seed", seeds(20))
def test_a_stopped_process_is_stalled_for_half_a_minute_and_then_down(seed: int) -> None:
    world = settled(8, seed)
    world.nodes["n2"].blameless_from_ms = 1 << 60
    world.stop("n2", 90_000)
    world.run_until(lambda: world.everyone_sees("n2", STALLED), within_ms=8_000)
    world.run(20_000)
    require(world, world.downs == 0, "it was called down within 30 s")
    world.run(30_000)
    require(world, world.everyone_sees("n2", *DOWN), "nobody waits for ever")
    world.run(40_000)
    world.run_until(world.is_at_rest, within_ms=15_000)
    world.run(5_000)
    whole_and_right(world)


@pytest.mark.parametrize("seed", seeds(20))
def test_half_of_all_are_slow_readers_and_collect_garbage(seed: int) -> None:
    world = settled(16, seed)
    slow = world.rng.sample(names(16), 8)
    for machine in slow:
        world.slow_down(machine, 10)
    for _ in range(20):
        world.hold(world.rng.choice(names(16)), world.rng.randrange(50, 1_500))
        world.run(2_000)
    require(world, world.downs == 0, "somebody was called down")
    victim = slow[0]
    world.crash(victim)
    world.run_until(lambda: world.everyone_sees(victim, AGENT_DOWN), within_ms=8_000)
    for machine in slow:
        world.slow_down(machine, 0)
    world.run(15_000)
    whole_and_right(world)


@pytest.mark.parametrize("seed", seeds(20))
def test_own_long_pause_accuses_nobody(seed: int) -> None:
    world = settled(6, seed)
    world.nodes["n1"].blameless_from_ms = 1 << 60
    world.stop("n1", 60_000)
    world.run(59_900)
    told = dict(world.nodes["n1"].view)
    world.run(100)
    world.run_until(world.all_alive, within_ms=10_000)
    require(world, all(state is ALIVE for state in told.values()), "it slept, they did not")
    world.run(10_000)
    require(world, not [s for s in world.nodes["n1"].view.values() if s is not ALIVE], "it accuses")
    whole_and_right(world)
