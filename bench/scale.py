"""How long does a user wait when the fabric has a hundred machines, or hundreds?

Back of an envelope: a page of 1,000 servers is 1,000 rows with their ports, 50 us of SQLite and Python each
to read and as much to write as JSON: 0.1 to 0.3 s, whatever the number of hosts. 500 hypervisors are half of
that. A create is a row of the log on three voters, 10 ms, a place (`scheduling_round.py`: some ms at any
size), a nudge, and the sim driver's build. A newcomer learns of all others when it joins: 500 records, each
with a certificate and a signature to check, 0.3 ms together, 0.15 s. Nothing grows faster than the number of
machines.

    python bench/scale.py [--agents 100] [--servers 200] [--joins 5] [--lists 20] [--creates 10]
                          [--burst 50] [--idle 6] [--table]

What is real: each machine is a whole agent, in a process of its own, with its own keys and certificate,
admitted by a token at the join door, in the gossip over CURVE sockets, registered as a host in the log and
given servers. Three hold the log, each with a voter's process of its own; the first serves the API that is
asked. What is not: the guests (driver `sim`) and the network between machines (loopback). All share this
machine's processors, so `busy` says how much of them the agents had while nothing was asked, and times
include waiting for a processor, which machines of their own would not know. Above 20 agents gossip is
slower, all intervals by `pace`, for two cores cannot carry 500 at the usual one (`_scale_agent.py`); the
messages, the tables and the rows are the same.
All but the first three are forked from one process, to share what they import (`pss_mb` is less than of an
agent alone, `core_pss_mb` is not), and give way to those three and to newcomers.
More than 100 were never measured. On two cores 100 idle ones keep the processors most of the time; p99 of so
few is the slowest.

`join`: as in `join.py`, of newcomers that start as usual, one after another, while all others are there.
`servers`: a page of `--servers`, `GET /servers/detail?limit=1000`; `servers_brief` without detail. `hosts`:
`GET /os-hypervisors/detail`; `hosts_brief` without. `members`: what `fabric members` asks the founder.
`create`: one server at a time, until the POST is taken, until ACTIVE; `deleted` until it is not found any
more. `burst`: so many at once, by ten clients. `up_s`: from nothing until every machine is known to the API.
`idle_cpu_percent`: of a core, for an agent that only hosts. Milliseconds where nothing else is said. A server
in ERROR, one that is not ACTIVE at the end, or an agent that ended fails the run. Prints one JSON object,
or a table.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parents[1])  # agents are started as modules of ours

from bench._footprint import memory_mb
from bench._processors import Meter, cpu_s
from bench._scale_agent import pace_of
from bench._scale_client import PAGE, SERVERS, User
from bench._scale_fabric import CORE, ScaleFabric
from bench._spread import commit, spread_ms
from bench.join import Newcomer, Trial

JOIN_STAGES = ("admitted", "known", "placed", "built")
LISTS = {
    "servers": f"{SERVERS}/detail?limit={PAGE}",
    "servers_brief": f"{SERVERS}?limit={PAGE}",
    "hosts": "/compute/v2.1/os-hypervisors/detail",
    "hosts_brief": "/compute/v2.1/os-hypervisors",
}


class PacedNewcomer(Newcomer):
    """At the pace of all others."""

    def __init__(self, folder: Path, number: int, *, pace: float) -> None:
        super().__init__(folder, number)
        self._pace = pace

    def agent(self) -> list[str]:
        if self._pace == 1:
            return super().agent()
        return [sys.executable, "-m", "bench._scale_agent", str(self.config), str(self._pace)]


def measure(agents: int, args: argparse.Namespace) -> dict[str, Any]:
    pace = pace_of(agents)
    with tempfile.TemporaryDirectory(prefix="fabric-bench-") as folder:
        fabric = ScaleFabric(Path(folder), agents, pace)
        try:
            began = time.monotonic()
            fabric.up()
            up_s = round(time.monotonic() - began, 1)
            _say(f"{agents} agents are up after {up_s} s")
            fabric.fill()
            idle = _idle(fabric, args.idle)
            _say(f"idle: {idle}")
            user = User(fabric.cloud())
            filled_s = round(user.settle_in(args.servers), 1)
            _say(f"{args.servers} servers are ACTIVE after {filled_s} s")
            lists = {name: user.get(path, args.lists) for name, path in LISTS.items()}
            founder = fabric.local(fabric.names[0])
            lists["members"] = _spread_of(args.lists, lambda: founder.get("/members"))
            create, burst = user.one_by_one(args.creates), user.burst(args.burst)
            _say("lists and creates are measured")
            trial = Trial(founder, fabric.cloud(), Path(folder), partial(PacedNewcomer, pace=pace))
            trial.invite(args.joins + 1)
            trial.one(0)  # what is compiled and cached once
            joins = [trial.one(number + 1) for number in range(args.joins)]
            user.until_all_active(args.servers)
            fabric.need_all_running()
        except Exception as error:
            error.add_note(fabric.last_words())
            raise
        finally:
            fabric.down()
    return {
        "agents": agents,
        "pace": pace,
        "up_s": up_s,
        "load": os.getloadavg(),
        **idle,
        "servers": args.servers,
        "filled_s": filled_s,
        "join": {stage: spread_ms([run[stage] for run in joins]) for stage in JOIN_STAGES},
        "lists": lists,
        "create": create,
        "burst": burst,
    }


def _idle(fabric: ScaleFabric, seconds: float) -> dict[str, float | None]:
    """Medians over agents that only host; of the founder, which also leads; and of all processors."""
    hosts = [fabric.pids[name] for name in fabric.names[CORE:]]
    founder, meter = fabric.pids[fabric.names[0]], Meter(fabric.pids.values())
    began, before = time.monotonic(), {pid: cpu_s(pid) for pid in (founder, *hosts)}
    time.sleep(seconds)
    used = {pid: (cpu_s(pid) - then) / (time.monotonic() - began) * 100 for pid, then in before.items()}
    busy = meter.busy()
    return {
        "busy": None if busy is None else round(busy, 2),
        "idle_cpu_percent": round(statistics.median(used[pid] for pid in hosts), 2),
        "founder_cpu_percent": round(used[founder], 2),
        "pss_mb": round(statistics.median(memory_mb(pid)[1] for pid in hosts), 1),
        "rss_mb": round(statistics.median(memory_mb(pid)[0] for pid in hosts), 1),
        "core_pss_mb": round(memory_mb(founder)[1], 1),
    }


def _spread_of(times: int, work: Any) -> dict[str, float]:
    took = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return spread_ms(took)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def table(report: dict[str, Any]) -> str:
    """A column a size; p50 / p99."""
    sizes = report["sizes"]
    lines = [
        "| ms, p50 / p99 | " + " | ".join(f"{size['agents']} agents" for size in sizes) + " |",
        "|---|" + "---|" * len(sizes),
    ]

    def row(name: str, cells: list[str]) -> None:
        lines.append(f"| {name} | {' | '.join(cells)} |")

    def spread(name: str, group: str, key: str) -> None:
        row(name, [f"{size[group][key]['p50']:.0f} / {size[group][key]['p99']:.0f}" for size in sizes])

    for stage in JOIN_STAGES:
        spread(f"join: {stage}", "join", stage)
    for name in (*LISTS, "members"):
        spread(f"list: {name}", "lists", name)
    for stage in ("accepted", "active", "deleted"):
        spread(f"create: {stage}", "create", stage)
    spread(f"burst of {sizes[0]['burst']['servers']}: accepted", "burst", "accepted")
    row("burst: all active, s", [str(size["burst"]["active_s"]) for size in sizes])
    row("burst: all deleted, s", [str(size["burst"]["deleted_s"]) for size in sizes])
    row("idle agent: % of a core", [str(size["idle_cpu_percent"]) for size in sizes])
    row("idle agent: MB (PSS; RSS)", [f"{size['pss_mb']}; {size['rss_mb']}" for size in sizes])
    row("processors had by idle agents", [f"{size['busy'] or 0:.0%}" for size in sizes])
    row("pace of gossip, times slower", [f"{size['pace']:g}" for size in sizes])
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--agents", type=int, nargs="+", default=[100])
    parser.add_argument("--servers", type=int, default=200, help="that are there while others are measured")
    parser.add_argument("--joins", type=int, default=5)
    parser.add_argument("--lists", type=int, default=20, help="how often each list is asked for")
    parser.add_argument("--creates", type=int, default=10, help="one after another")
    parser.add_argument("--burst", type=int, default=50, help="creates at once")
    parser.add_argument("--idle", type=float, default=6.0, help="seconds that idle agents are watched")
    parser.add_argument("--table", action="store_true")
    args = parser.parse_args()
    if min(args.agents) <= CORE:
        parser.error(f"--agents: more than {CORE}, who hold the log")
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))  # ends what it started, then
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an agent that is installed is compiled
    report = {
        "bench": "scale",
        "commit": commit(),
        "machine": {"cpus": os.cpu_count(), "load": os.getloadavg(), "python": platform.python_version()},
        "sizes": [measure(agents, args) for agents in args.agents],
    }
    print(table(report) if args.table else json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
