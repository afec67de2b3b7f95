"""How soon does everybody know, and what does knowing cost: our mesh beside Serf, in one run?

Back of an envelope, for ours: a killed agent's machine refuses at once, votes need milliseconds and the
window to refute is 1.0 s, so 1.0-1.1 s at any size; a silent host is silence 2.0 + look 0.5 + window 1.5,
so 4 s; a record crosses the tree in a few hops of a millisecond on idle machines, and here N agents share
the processors: N times some 0.3 ms. Serf waits log N suspicion windows (5-10 s) and gossips each 0.2 s.

    python bench/membership.py [--sizes 10 30 60 100] [--mesh-max 60] [--quick] [--json]
                               [--only serf mesh agent sim] [--rows join kill ...] [--seed 1] [--into FILE]

Every machine is a network namespace of its own on a routed star (`_star.py`), for Serf and for ours.
Columns: *serf* is Debian's package; *mesh* the membership part of our agents, real processes over real
sockets with real certificates; *agent* the whole `fabric agent` without guests; *sim* the same core under
virtual time, for sizes of which not as many processes fit this machine. Times are of each agent's own log.
Needs root, and Debian's `serf` (`WITH_BENCH=1 ./.ci/setup.sh`). The full run takes most of an hour; `--into`
keeps what is known so far.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing as closing_star
from dataclasses import asdict
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import _membership_runs as runs
from bench import _updates
from bench._agent_cluster import AgentCluster
from bench._cluster import Cluster, closing
from bench._footprint import footprint
from bench._membership_plan import FULL, QUICK, ROWS, STARVED, Plan
from bench._membership_sim import simulated
from bench._membership_table import table
from bench._mesh_cluster import MeshCluster
from bench._serf_cluster import SerfCluster, is_installed, version
from bench._spread import commit
from bench._star import Star, why_no_star

Measured = dict[str, Any]  # row -> its dataclass as plain values
SYSTEMS = ("serf", "mesh", "agent", "sim")
BASELINE = Path(__file__).parent / "baselines" / "serf_membership.json"
ARRIVAL_NICENESS = -5  # lines are stamped when they arrive: reading them must not wait


class Bench:
    def __init__(self, star: Star, folder: Path, plan: Plan, rows: frozenset[str], seed: int) -> None:
        self._star = star
        self._folder = folder
        self._plan = plan
        self._rows = rows
        self._seed = seed

    def serf(self, size: int, done: Callable[[Measured], None]) -> None:
        make = partial(SerfCluster, self._star, size, self._folder)
        self._joins(make, done)
        with closing(make()) as cluster:
            rng = self._begun(cluster)
            if "idle" in self._rows:
                self._idle(cluster, done)
            self._common(cluster, rng, done)
            if "updates" in self._rows:
                measure = partial(self._ordered_updates, cluster, rng)
                self._ladder(measure, self._plan.serf_rates, done)

    def mesh(self, size: int, done: Callable[[Measured], None]) -> None:
        make = partial(MeshCluster, self._star, size, self._folder)
        self._joins(make, done)
        if "idle" in self._rows:
            with closing(make(is_forked=False)) as cluster:
                self._begun(cluster)
                self._idle(cluster, done)
        mesh = make()
        with closing(mesh):
            rng = self._begun(mesh)
            self._common(mesh, rng, done)
            if "stall" in self._rows:
                held = runs.hold_interpreter(mesh, rng, hold_ms=self._plan.hold_ms, runs=self._plan.holds)
                done({"stall": {"false_down": held}})
        if "updates" in self._rows:
            # The node's own pace (1 s, and the fabric's 500 a second shared out) is taken off: at this size
            # it would be what is measured, and not the mesh.
            eager = make(settings={"load_interval_ms": 1, "fabric_loads_per_s": 1_000_000})
            with closing(eager):
                self._begun(eager)
                self._ladder(partial(self._agents_updates, eager), self._plan.mesh_rates, done)

    def agent(self, size: int, done: Callable[[Measured], None]) -> None:
        cluster = AgentCluster(self._star, size, self._folder)
        with closing(cluster):
            rng = self._begun(cluster)
            if "idle" in self._rows:
                self._idle(cluster, done)
            self._common(cluster, rng, done)

    # -- rows

    def _begun(self, cluster: Cluster) -> Random:
        cluster.begin()
        cluster.knowledge.listen(self._plan.calm_s)
        return Random(f"{self._seed}/{cluster.name}/{cluster.size}")

    def _joins(self, make: Callable[[], Cluster], done: Callable[[Measured], None]) -> None:
        if "join" in self._rows:
            done({"join": asdict(runs.mass_join(make, self._plan.joins))})

    def _idle(self, cluster: Cluster, done: Callable[[Measured], None]) -> None:
        done({"idle": asdict(footprint(cluster, self._plan.idle_s))})

    def _common(self, cluster: Cluster, rng: Random, done: Callable[[Measured], None]) -> None:
        plan, rows = self._plan, self._rows
        if "record" in rows and cluster.can_publish:
            done({"record": asdict(runs.records(cluster, rng, plan.records))})
        if "kill" in rows:
            deaths, births = runs.kill_and_restart(cluster, rng, plan.kills)
            done({"kill": asdict(deaths)})
            if not cluster.joins_by_itself:
                done({"restart": asdict(births)})
        if "silent" in rows:
            done({"silent": asdict(runs.silence(cluster, rng, plan.silences))})
        if "half" in rows:
            done({"half": asdict(runs.kill_half(cluster, rng, plan.halves))})
        if "starved" in rows and cluster.size in plan.starved_sizes:
            for name, (victims, stopped_s, running_s) in STARVED.items():
                starved = runs.starve(
                    cluster,
                    rng,
                    victims=victims,
                    stopped_s=stopped_s,
                    running_s=running_s,
                    seconds=plan.starved_s,
                )
                done({name: asdict(starved)})

    def _ordered_updates(self, cluster: Cluster, rng: Random, rate: float) -> _updates.Updates:
        plan = self._plan
        return _updates.ordered_from_here(
            cluster, rng, rate=rate, seconds=plan.updates_s, size=plan.update_bytes
        )

    def _agents_updates(self, cluster: MeshCluster, rate: float) -> _updates.Updates:
        plan = self._plan
        return _updates.said_by_agents(cluster, rate=rate, seconds=plan.updates_s, size=plan.update_bytes)

    def _ladder(
        self,
        measure: Callable[[float], _updates.Updates],
        rates: tuple[float, ...],
        done: Callable[[Measured], None],
    ) -> None:
        results = _updates.ladder(measure, rates)
        done({"updates": {"best_per_s": _updates.best(results), "tried": [asdict(each) for each in results]}})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 30, 60, 100])
    parser.add_argument("--mesh-max", type=int, default=60, help="largest size of ours as real processes")
    parser.add_argument("--agent-max", type=int, default=10, help="largest size of whole agents")
    parser.add_argument("--sim-sizes", type=int, nargs="+", default=[100, 300, 1_000])
    parser.add_argument("--only", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--quick", action="store_true", help="fewer repetitions: a look, not a measurement")
    parser.add_argument("--json", action="store_true", help="JSON instead of the table")
    parser.add_argument("--into", type=Path, help="keep the JSON here, too, from the first figure on")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    why = why_no_star()
    if why:
        sys.exit(f"bench/membership.py: {why}")
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # what is open closes
    report = measured(options)
    print(json.dumps(report, indent=1) if options.json else table(report))


def measured(options: argparse.Namespace) -> Measured:
    report: Measured = {
        "bench": "membership",
        "commit": commit(),
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "load": os.getloadavg()},
        "seed": options.seed,
        "quick": options.quick,
        "serf_version": version() if is_installed() else None,
        "network": "a namespace for each node, veth to a routed hub, MTU 1500; Serf encrypted, profile lan",
        "systems": {system: {} for system in SYSTEMS},
    }

    def done(system: str, size: int, figures: Measured) -> None:
        report["systems"][system].setdefault(str(size), {}).update(figures)
        for row, figure in figures.items():
            print(f"{system} {size} {row}: {json.dumps(figure)}", file=sys.stderr, flush=True)
        if options.into is not None:
            options.into.write_text(json.dumps(report, indent=1))

    plan, rows = QUICK if options.quick else FULL, frozenset(options.rows)
    limits = {"serf": max(options.sizes), "mesh": options.mesh_max, "agent": options.agent_max}
    real = [system for system in SYSTEMS[:3] if system in options.only]
    if "serf" in real and not is_installed():
        print(
            "Serf is not installed (WITH_BENCH=1 ./.ci/setup.sh): its columns are older ones", file=sys.stderr
        )
        real.remove("serf")
        kept = json.loads(BASELINE.read_text())
        report["serf_version"] = f"{kept['serf_version']}, from {BASELINE.name}"
        report["systems"]["serf"] = kept["systems"]["serf"]
    try:
        if real:
            with (
                tempfile.TemporaryDirectory(prefix="fabric-bench-") as folder,
                closing_star(Star(max(options.sizes))) as star,
            ):
                os.nice(ARRIVAL_NICENESS)
                bench = Bench(star, Path(folder), plan, rows, options.seed)
                for size in options.sizes:
                    for system in real:
                        if size <= limits[system]:
                            told = partial(done, system, size)
                            try:
                                getattr(bench, system)(size, told)
                            except RuntimeError as error:  # a cluster that never agreed ends its column only
                                told({"failed": str(error)})
        if "sim" in options.only:
            for size in options.sim_sizes:
                done("sim", size, simulated(size, plan, rows, options.seed))
    except KeyboardInterrupt:
        report["interrupted"] = True
    return report


if __name__ == "__main__":
    main()
