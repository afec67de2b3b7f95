"""How many small updates a second, of the whole cluster, does it carry to everybody in time?"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from bench._cluster import Cluster
from bench._knowledge import Fact, Kind
from bench._mesh_agent import LATE_S
from bench._mesh_cluster import MeshCluster

IN_TIME_SHARE = (
    0.99  # of all (update, agent) pairs: Serf loses a few at any rate, and repairs them much later
)
DRAIN_S = 2 * LATE_S


@dataclass(frozen=True, slots=True)
class Updates:
    rate_per_s: float
    seconds: float
    in_time_share: float  # of (update, agent) pairs: it, or the same teller's newer one, within LATE_S
    came_share: float  # of (update, agent) pairs that met themselves
    median_s: float
    slowest_s: float  # of those that came at all

    @property
    def keeps_up(self) -> bool:
        return self.in_time_share >= IN_TIME_SHARE


def ladder(measure: Callable[[float], Updates], rates: Sequence[float]) -> tuple[Updates, ...]:
    """Rising rates until one is too much; that one is the last."""
    results = []
    for rate in rates:
        results.append(measure(rate))
        if not results[-1].keeps_up:
            break
    return tuple(results)


def best(results: Sequence[Updates]) -> float:
    """The highest rate that was carried; 0 when none was."""
    return max((result.rate_per_s for result in results if result.keeps_up), default=0.0)


def ordered_from_here(cluster: Cluster, rng: Random, *, rate: float, seconds: float, size: int) -> Updates:
    """Agents in turn are told to say one thing each, at `rate` a second all together."""
    told_ns: dict[str, int] = {}
    tellers = rng.sample(cluster.running, len(cluster.running))
    tokens = [f"u{number}-{rng.randrange(1 << 30)}" for number in range(round(rate * seconds))]
    teller_of = {token: tellers[number % len(tellers)] for number, token in enumerate(tokens)}
    expected = cluster.knowledge.expect(
        Fact(other, Kind.RECORD, token) for token in tokens for other in tellers if other != teller_of[token]
    )
    pairs = len(expected.outstanding)
    began = time.monotonic()
    for number, token in enumerate(tokens):
        cluster.knowledge.listen(began + number / rate - time.monotonic())
        told_ns[token] = time.monotonic_ns()
        cluster.publish(teller_of[token], token, size)
    cluster.knowledge.wait(expected, DRAIN_S)
    delays = [(at_ns - told_ns[fact.subject]) / 1e9 for fact, at_ns in expected.heard_ns.items()]
    in_time = sum(delay <= LATE_S for delay in delays)
    return Updates(
        rate_per_s=rate,
        seconds=seconds,
        in_time_share=round(in_time / pairs, 4),
        came_share=round(len(delays) / pairs, 4),
        median_s=round(statistics.median(delays), 4),
        slowest_s=round(max(delays), 3),
    )


def said_by_agents(cluster: MeshCluster, *, rate: float, seconds: float, size: int) -> Updates:
    """Each agent says its share on its own clock and counts what it hears: at hundreds a second, a line to us
    for each would be the load. The median is of the agents' means."""
    each = rate / len(cluster.running)
    cluster.reports()  # forgets what was counted before
    for machine in cluster.running:
        cluster.order(machine, f"loads {each} {seconds} {size}")
    cluster.knowledge.listen(seconds + 1 / each + DRAIN_S)
    tallies = [report.loads for report in cluster.reports().values()]
    said = round(each * seconds) * len(cluster.running)
    pairs = said * (len(cluster.running) - 1)
    return Updates(
        rate_per_s=rate,
        seconds=seconds,
        in_time_share=round(sum(tally.in_time for tally in tallies) / pairs, 4),
        came_share=round(sum(tally.came for tally in tallies) / pairs, 4),
        median_s=round(statistics.median(tally.mean_s for tally in tallies), 4),
        slowest_s=round(max(tally.slowest_s for tally in tallies), 3),
    )
