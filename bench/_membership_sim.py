"""The same questions to the same core under virtual time, at sizes of which real processes do not fit here.

Every event costs its node EVENT_MS: above the 0.3-0.7 ms of a real agent's message or timer, as measured; and
LEARN_MS more for each member it makes known: two signatures, 0.28 ms, and as much for all else when nothing
is in the caches. So a node that is told too much falls behind, as it would. What one machine's processors
cannot tell is told here: times of nodes that have a processor each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from random import Random
from typing import Any

from bench._knowledge import Learned
from bench._membership_plan import Plan
from bench._membership_runs import Times
from bench._mesh_agent import LATE_S
from bench._updates import IN_TIME_SHARE
from fabric.core.membership.config import MembershipConfig
from fabric.core.membership.events import LocalChanged
from fabric.core.membership.model import MemberState
from tests.sim.membership_scenes import SETTLE_MS, names
from tests.sim.membership_world import World

EVENT_MS = 1
LEARN_MS = 1
STEP_MS = 10
KNOW_MS = 60_000
JOIN_SPREAD_MS = 300  # between the first and the last knock of a mass join
CALM_MS = 3_000
UPDATES_PER_S = 500
UPDATES_MS = 8_000
UPDATES_SIZE_MAX = 300  # a larger fabric's take minutes of the processor
UPDATE_CHARS = 280  # about 500 bytes with the load's own numbers and the envelope
LOOKED_AT_EACH = 4
RUNS_MAX = 3  # virtual time wobbles less than a busy machine
DOWN = (MemberState.AGENT_DOWN, MemberState.HOST_DOWN)


def simulated(size: int, plan: Plan, rows: frozenset[str], seed: int) -> dict[str, Any]:
    """Row -> figures, as of real processes."""
    figures: dict[str, Any] = {}
    if "join" in rows:
        figures["join"] = _times([_join(size, seed + run) for run in range(min(RUNS_MAX, plan.joins))])
    world = World(seed, config=MembershipConfig(load_interval_ms=1, fabric_loads_per_s=1_000_000))
    machines = names(size)
    for machine in machines:
        world.node(machine)
        world.slow_down(machine, EVENT_MS, learn_ms=LEARN_MS)
    world.settle(machines)
    world.run_until(world.is_at_rest, within_ms=4 * SETTLE_MS, step_ms=250)
    world.run(CALM_MS)
    rng = Random(f"{seed}/{size}")
    if "record" in rows:
        figures["record"] = _times([_record(world, rng, number) for number in range(plan.records)])
    if "kill" in rows:
        deaths, births = zip(*(_kill(world, rng) for _ in range(min(RUNS_MAX, plan.kills))), strict=True)
        figures["kill"], figures["restart"] = _times(deaths), _times(births)
    if "silent" in rows:
        figures["silent"] = _times([_silence(world, rng) for _ in range(min(RUNS_MAX, plan.silences))])
    if "updates" in rows and size <= UPDATES_SIZE_MAX:
        figures["updates"] = _updates(world, rng)
    if "half" in rows:
        figures["half"] = _times([_kill_half(world, rng)])
    return figures


def _times(each_ms: list[int] | tuple[int, ...]) -> dict[str, Any]:
    return asdict(Times.of([Learned(ms / 1_000, 0) for ms in each_ms]))


def _until(world: World, holds: Callable[[], bool]) -> int:
    return world.run_until(holds, within_ms=KNOW_MS, step_ms=STEP_MS)


def _join(size: int, seed: int) -> int:
    world = World(seed)
    door, *others = names(size)
    world.start(door)
    world.slow_down(door, EVENT_MS, learn_ms=LEARN_MS)
    world.run(1_000)
    moments = sorted(world.rng.randrange(JOIN_SPREAD_MS) for _ in others)
    start_ms = world.now_ms
    for machine, moment in zip(others, moments, strict=True):
        world.run(start_ms + moment - world.now_ms)
        world.join(machine, through=door)
        world.slow_down(machine, EVENT_MS, learn_ms=LEARN_MS)
    return world.now_ms - start_ms + _until(world, world.all_alive)


def _record(world: World, rng: Random, number: int) -> int:
    teller = rng.choice(world.running())
    token = {"token": str(number), "text": "x" * 200}
    world.tell(teller, LocalChanged(labels=token))

    def is_everywhere() -> bool:
        records = (
            world.member(node.machine, teller.machine) for node in world.running() if node is not teller
        )
        return all(member is not None and member.record.labels == token for member in records)

    took_ms = world.run_until(is_everywhere, within_ms=KNOW_MS, step_ms=1)
    world.run(rng.randrange(CALM_MS))
    return took_ms


def _kill(world: World, rng: Random) -> tuple[int, int]:
    victim = rng.choice(world.running()).machine
    world.crash(victim)
    died_ms = _until(world, lambda: world.everyone_sees(victim, *DOWN))
    world.run(CALM_MS)
    world.start(victim)
    world.slow_down(victim, EVENT_MS, learn_ms=LEARN_MS)
    back_ms = _until(world, lambda: world.everyone_sees(victim, MemberState.ALIVE))
    world.run(CALM_MS)
    return died_ms, back_ms


def _silence(world: World, rng: Random) -> int:
    victim = rng.choice(world.running()).machine
    world.power_off(victim)
    took_ms = _until(world, lambda: world.everyone_sees(victim, *DOWN))
    world.run(CALM_MS)
    return took_ms


def _updates(world: World, rng: Random) -> dict[str, Any]:
    """UPDATES_PER_S said by all in turn. Looked at now and then: who knows of somebody's word, or of a newer
    one, LATE_S after it was said?"""
    tellers = world.running()
    rng.shuffle(tellers)
    spoken: list[list[tuple[int, int]]] = [[] for _ in tellers]  # (when, number) of each
    known = asked = 0
    start_ms, number = world.now_ms, 0
    while world.now_ms - start_ms < UPDATES_MS:
        teller = number % len(tellers)
        spoken[teller].append((world.now_ms, number))
        world.tell(tellers[teller], LocalChanged(extra={"number": str(number), "text": "x" * UPDATE_CHARS}))
        number += 1
        world.run(round(number * 1_000 / UPDATES_PER_S) - (world.now_ms - start_ms))
        if number % LOOKED_AT_EACH == 0:
            viewer, teller = rng.sample(range(len(tellers)), 2)
            due = [said for at_ms, said in spoken[teller] if at_ms <= world.now_ms - LATE_S * 1_000]
            member = world.member(tellers[viewer].machine, tellers[teller].machine)
            if due and member is not None:
                asked += 1
                known += int(member.load.extra.get("number", -1)) >= due[-1]
    world.run(CALM_MS)
    return {
        "best_per_s": UPDATES_PER_S if known >= IN_TIME_SHARE * asked else 0,
        "in_time_share": known / asked,
    }


def _kill_half(world: World, rng: Random) -> int:
    machines = [node.machine for node in world.running()]
    dead = rng.sample(machines, len(machines) // 2)
    for machine in dead:
        world.crash(machine)
    return _until(world, lambda: all(world.everyone_sees(machine, *DOWN) for machine in dead))
