"""How long does it take to find a server's host among 100, 1,000 and 10,000, beside Nova's own scheduler?

Back of an envelope: a filter is one comparison over a column (10,000 numbers of 8 bytes: 3 us), a weigher a
gather, two searches for the ends and three operations (15 us); some ten filters look at a request, six
weighers, all at once, and a call of numpy costs up to 1 us however short the column: 30 us at 100 hosts, 130
at 10,000. Nova asks each host each filter in Python, and each weigher: some 80 us a host.

    python bench/schedule.py [--sizes 100 1000 10000] [--requests 1000] [--at-once 1000] [--repeats 5]
                             [--nova-requests 50] [--agree 200 500] [--venv .venv-nova] [--only ours nova]
                             [--seed 1] [--table]
    python bench/schedule.py --profile 10000     where the time of single placements goes, as text

Prints one JSON object, or a table. Times are of the processor: deciding waits for nothing, and what else the
machine does (`load`) counts less. Nova is the one from PyPI, in a Python of its own (`WITH_BENCH=1
./.ci/setup.sh`): its default filters and all its weighers on host states in memory, over the same hosts and
requests. Left out, in its favour: messages, its databases, and Placement, whose answer it is given for
nothing; ours counts what Placement would and has all its default filters. `agree`: for how many requests the
same hosts pass, with those of Nova's filters beside that ours has too.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import _schedule_ours as ours
from bench import _schedule_peer as nova
from bench._schedule_table import table
from bench._spread import commit

NOVA_S = 10.0  # of requests at once: a thousand would take it minutes
SYSTEMS = ("ours", "nova")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1_000, 10_000], help="hosts")
    parser.add_argument("--requests", type=int, default=1_000, help="of single placements")
    parser.add_argument("--at-once", type=int, default=1_000, help="requests in one round")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--nova-requests", type=int, default=50, help="of its single placements")
    parser.add_argument("--nova-seconds", type=float, default=NOVA_S, help="of its requests at once")
    parser.add_argument("--agree", type=int, nargs=2, default=[200, 500], metavar=("HOSTS", "REQUESTS"))
    parser.add_argument("--venv", type=Path, default=nova.VENV, help="where Nova is")
    parser.add_argument("--only", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--profile", type=int, metavar="HOSTS")
    options = parser.parse_args()
    if options.profile is not None:
        print(ours.profile(options.seed, options.profile, options.requests))
        return
    report = measured(options)
    print(table(report) if options.table else json.dumps(report, indent=1))


def measured(options: argparse.Namespace) -> dict[str, Any]:
    report: dict[str, Any] = {
        "bench": "schedule",
        "commit": commit(),
        "machine": {
            "cpus": os.cpu_count(),
            "load": os.getloadavg(),
            "python": platform.python_version(),
        },
        "seed": options.seed,
        "repeats": options.repeats,
    }
    if "ours" in options.only:
        report["ours"] = _ours(options)
    if "nova" in options.only:
        report["nova"] = _nova(options)
    return report


def _ours(options: argparse.Namespace) -> dict[str, Any]:
    seed, repeats, most = options.seed, options.repeats, max(options.sizes)
    return {
        "one": {
            str(hosts): ours.one_placement(seed, hosts, options.requests, repeats) for hosts in options.sizes
        },
        "at_once": ours.at_once(seed, most, options.at_once, repeats),
        "table": ours.table_cost(seed, most, repeats),
        "words": ours.words(seed, most, repeats),
    }


def _nova(options: argparse.Namespace) -> dict[str, Any]:
    python = nova.python_of(options.venv)
    if python is None:
        return {"absent": f"Nova is not in {options.venv.name}: WITH_BENCH=1 ./.ci/setup.sh"}
    wanted = {
        "seed": options.seed,
        "one": [[hosts, options.nova_requests] for hosts in options.sizes],
        "at_once": [max(options.sizes), options.nova_seconds],
        "decisions": options.agree,
    }
    report = nova.asked(python, wanted)
    report["agreement"] = nova.agreement(options.seed, *options.agree, report.pop("decisions"))
    return report


if __name__ == "__main__":
    main()
