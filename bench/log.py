"""What does the replicated log carry, and for how long is it gone when its leader dies, beside its peers?

Back of an envelope: a commit is one fdatasync here and one at the faster of two followers, at the same time
(0.2-1 ms), and a round on loopback; with many in flight the flush is shared, and some 60 us of Python for
each command remain at the leader: 10,000 a second without tables, and with them what SQL leaves of that,
1,000 creates of servers. A killed leader's machine refuses at once, so the next one is there within 0.3 s; a
stopped one is missed after 1-2 s, as etcd's.

    python bench/log.py [--only commits creates failover starts] [--in-flight 1 8 32 128] [--repeats 3]
                        [--seconds 2] [--kills 10] [--servers 2000] [--seed 1] [--table] [--into FILE]
    python bench/log.py --profile 32 [--kind create]     where the leader's processor time goes, as text

Prints one JSON object, or a table. Voters are processes on loopback with ZeroMQ and CURVE between them, and
share this machine's processors; whoever proposes is in the leader's process. Systems take turns within each
question. etcd is Debian's (`WITH_BENCH=1 ./.ci/setup.sh`), three members; PostgreSQL is a single server. A
peer that is not installed leaves its column empty and says why.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import _etcd_cluster as etcd
from bench import _log_rates as rates
from bench._log_failover import failover
from bench._log_starts import starts
from bench._log_table import table
from bench._spread import commit

CREATES_IN_FLIGHT = (32, 128)
QUESTIONS = ("commits", "creates", "failover", "starts")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=QUESTIONS, default=list(QUESTIONS))
    parser.add_argument("--in-flight", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each load")
    parser.add_argument("--kills", type=int, default=10, help="and as often it is stopped, and handed over")
    parser.add_argument("--servers", type=int, default=2_000, help="in the tables of voters that start")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--into", type=Path, help="keeps what is known so far")
    parser.add_argument("--profile", type=int, metavar="IN_FLIGHT")
    parser.add_argument("--kind", choices=("put", "create"), default="create", help="of what is profiled")
    options = parser.parse_args()
    if options.profile is not None:
        with tempfile.TemporaryDirectory(prefix="fabric-bench-") as folder:
            wanted = (options.profile, options.kind, options.seconds)
            print(asyncio.run(rates.profile(Path(folder), *wanted)))
        return
    with tempfile.TemporaryDirectory(prefix="fabric-bench-") as folder:
        report = asyncio.run(_measure(options, Path(folder)))
    print(table(report) if options.table else json.dumps(report, indent=1))


async def _measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = {
        "bench": "log",
        "commit": commit(),
        "machine": {
            "cpus": os.cpu_count(),
            "load": os.getloadavg(),
            "python": platform.python_version(),
        },
        "etcd_version": etcd.version(),
        "repeats": options.repeats,
        "seconds": options.seconds,
    }

    async def done(question: str, figures: Awaitable[Any]) -> None:
        report[question] = await figures
        if options.into is not None:
            options.into.write_text(json.dumps(report, indent=1))

    some, repeats, seconds = options.in_flight, options.repeats, options.seconds
    if "commits" in options.only:
        await done("commits", rates.commits(folder / "commits", some, repeats, seconds))
    if "creates" in options.only:
        few = [wanted for wanted in some if wanted in CREATES_IN_FLIGHT] or some
        await done("creates", rates.creates(folder / "creates", few, repeats, seconds))
    if "failover" in options.only:
        await done("failover", failover(folder / "failover", options.kills, options.seed))
    if "starts" in options.only:
        await done("starts", starts(folder / "starts", options.servers, repeats, options.seed))
    return report


if __name__ == "__main__":
    main()
