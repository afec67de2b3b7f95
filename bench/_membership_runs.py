"""The scenarios of `bench/membership.py`, written once and done to whoever's cluster.

Each times what every agent came to know from the moment something was done, and leaves the cluster as it
found it: all alive and known to be.
"""

from __future__ import annotations

import heapq
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from random import Random

from bench._cluster import Cluster, closing
from bench._knowledge import Fact, Kind, Learned, everyone
from bench._mesh_cluster import MeshCluster
from bench._processors import Meter

RECORD_BYTES = 300
KNOW_TIMEOUT_S = 180.0
CALM_S = 2.0  # between one disturbance and the next
AFTERMATH_S = 8.0  # what a stall leads to shows within this time
Make = Callable[[], Cluster]


@dataclass(frozen=True, slots=True)
class Times:
    """Of repeated runs: when the last agent knew, in seconds."""

    median_s: float
    worst_s: float
    runs: int
    stragglers: int  # runs in which somebody had not learned it when time was up, and that time counts
    each_s: tuple[float, ...]
    busy: float | None  # median share of this machine's processors that the agents had meanwhile

    @classmethod
    def of(cls, learned: Sequence[Learned]) -> Times:
        each = tuple(round(min(one.after_s, KNOW_TIMEOUT_S), 4) for one in learned)
        lost = sum(one.missing > 0 for one in learned)
        shares = [one.busy for one in learned if one.busy is not None]
        busy = round(statistics.median(shares), 2) if shares else None
        return cls(statistics.median(each), max(each), len(each), lost, each, busy)


def timed(
    cluster: Cluster,
    facts: Iterable[Fact],
    act: Callable[[], None],
    timeout_s: float = KNOW_TIMEOUT_S,
) -> Learned:
    expected = cluster.knowledge.expect(facts)
    meter = Meter(cluster.pids.values())
    since_ns = time.monotonic_ns()
    act()
    learned = cluster.knowledge.wait(expected, timeout_s).learned(since_ns)
    return replace(learned, busy=meter.busy())


def mass_join(make: Make, runs: int) -> Times:
    """All processes are up; then all join at once through machine 0. Until all list all."""
    learned = []
    for _ in range(runs):
        with closing(make()) as cluster:
            cluster.start(cluster.machines)
            facts = everyone(cluster.machines, Kind.ALIVE, cluster.machines)
            learned.append(timed(cluster, facts, partial(cluster.join, cluster.machines)))
    return Times.of(learned)


def records(cluster: Cluster, rng: Random, runs: int) -> Times:
    """One agent says something new; until every other agent has it."""
    learned = []
    for number in range(runs):
        teller = rng.choice(cluster.running)
        token = f"r{number}-{rng.randrange(1 << 30)}"
        facts = [Fact(other, Kind.RECORD, token) for other in cluster.running if other != teller]
        learned.append(timed(cluster, facts, partial(cluster.publish, teller, token, RECORD_BYTES)))
        cluster.knowledge.listen(CALM_S * rng.random())
    return Times.of(learned)


def kill_and_restart(cluster: Cluster, rng: Random, runs: int) -> tuple[Times, Times]:
    """`kill -9` of one agent until all others know; then its restart, from the process being up until all
    others list it again."""
    deaths, births = [], []
    for _ in range(runs):
        victim = rng.choice(cluster.running)
        others = [machine for machine in cluster.running if machine != victim]
        deaths.append(timed(cluster, everyone(others, Kind.DOWN, [victim]), partial(cluster.kill, [victim])))
        cluster.knowledge.listen(CALM_S)
        births.append(_restart(cluster, [victim], others))
        cluster.settle()
        cluster.knowledge.listen(CALM_S)
    return Times.of(deaths), Times.of(births)


def silence(cluster: Cluster, rng: Random, runs: int) -> Times:
    """Every packet of one machine is dropped, both ways, until all others know."""
    learned = []
    for _ in range(runs):
        victim = rng.choice(cluster.running)
        others = [machine for machine in cluster.running if machine != victim]
        facts = everyone(others, Kind.DOWN, [victim])
        learned.append(timed(cluster, facts, partial(cluster.star.silence, [victim])))
        cluster.kill([victim])
        cluster.star.unsilence([victim])
        _restart(cluster, [victim], others)
        cluster.settle()
        cluster.knowledge.listen(CALM_S)
    return Times.of(learned)


def kill_half(cluster: Cluster, rng: Random, runs: int) -> Times:
    """Half of all agents at once, until each survivor knows of each of the dead."""
    learned = []
    for _ in range(runs):
        dead = rng.sample(cluster.running, cluster.size // 2)
        others = [machine for machine in cluster.running if machine not in dead]
        facts = everyone(others, Kind.DOWN, dead)
        learned.append(timed(cluster, facts, partial(cluster.kill, dead)))
        _restart(cluster, dead, others)
        cluster.settle()
        cluster.knowledge.listen(CALM_S)
    return Times.of(learned)


def _restart(cluster: Cluster, machines: Sequence[int], others: Sequence[int]) -> Learned:
    """From the processes being up until all others list them again."""
    expected = cluster.knowledge.expect(everyone(others, Kind.ALIVE, machines))
    cluster.start(machines)
    since_ns = time.monotonic_ns()
    cluster.join(machines)
    return cluster.knowledge.wait(expected, KNOW_TIMEOUT_S).learned(since_ns)


@dataclass(frozen=True, slots=True)
class Starved:
    """How often healthy agents were believed dead, and starved ones, while some had no processor time."""

    false_down: int  # a healthy agent about a healthy one: the bar is 0
    starved_down: int  # a healthy agent about a starved one
    starved_stalled: int
    seconds: float


def starve(
    cluster: Cluster, rng: Random, *, victims: int, stopped_s: float, running_s: float, seconds: float
) -> Starved:
    """SIGSTOP and SIGCONT by turns, each victim in a phase of its own."""
    starved = rng.sample(cluster.running, victims)
    healthy = [machine for machine in cluster.running if machine not in starved]
    before = cluster.knowledge.words.copy()
    end = time.monotonic() + seconds
    turns = [(time.monotonic() + rng.uniform(0, stopped_s), machine, True) for machine in starved]
    heapq.heapify(turns)
    while turns:
        at, machine, is_stop = heapq.heappop(turns)
        if at >= end:
            continue
        cluster.knowledge.listen(at - time.monotonic())
        (cluster.freeze if is_stop else cluster.thaw)(machine)
        heapq.heappush(turns, (at + (stopped_s if is_stop else running_s), machine, not is_stop))
    cluster.knowledge.listen(end - time.monotonic())
    for machine in starved:
        cluster.thaw(machine)
    said = cluster.knowledge.words - before
    cluster.settle()
    cluster.knowledge.listen(CALM_S)

    def count(kind: Kind, subjects: Sequence[int]) -> int:
        return sum(said[fact] for fact in everyone(healthy, kind, subjects))

    return Starved(
        false_down=count(Kind.DOWN, healthy),
        starved_down=count(Kind.DOWN, starved),
        starved_stalled=count(Kind.STALLED, starved),
        seconds=seconds,
    )


def hold_interpreter(cluster: MeshCluster, rng: Random, *, hold_ms: int, runs: int) -> int:
    """One agent's Python stands still while its ZeroMQ thread goes on, as under a C extension that keeps the
    lock. How often anybody called anybody down: the bar is 0."""
    before = cluster.knowledge.words.copy()
    for _ in range(runs):
        cluster.order(rng.choice(cluster.running), f"stall {hold_ms}")
        cluster.knowledge.listen(hold_ms / 1_000 + AFTERMATH_S)
    said = cluster.knowledge.words - before
    return sum(count for fact, count in said.items() if fact.kind is Kind.DOWN)
