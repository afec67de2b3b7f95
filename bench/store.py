"""How many server creates a second does the log and SQLite engine commit, and how long does each wait?

Back of an envelope: one in flight pays one fdatasync (0.1-1 ms on an SSD) and about 1 ms of SQL for a server
with its port; with many in flight the flush is shared by the group and the SQL remains: 500 to 1,000 a
second from one thread. Nova and Neutron on MariaDB commit a dozen transactions for the same.

    python bench/store.py [--creates 400] [--repeats 5] [--in-flight 1 8 32 128]

Prints one JSON object. Each repeat starts from an empty directory.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench._server_creates import create, found
from bench._spread import commit, rate_of, spread_ms
from fabric.runtime.clock import SystemClock
from fabric.store.lone_voter import lone_voter
from proto.ids import new_request_id


async def measure(directory: Path, creates: int, in_flight: int) -> tuple[float, list[float]]:
    """Creates a second, and how long each waited, in seconds."""
    clock = SystemClock()
    state = lone_voter(directory, clock=clock)
    await state.open()
    try:
        tenant = await found(state)
        commands = [create(tenant, number, clock.wall_ms()) for number in range(creates)]
        waits: list[float] = []

        async def proposer() -> None:
            while commands:
                command = commands.pop()
                began = time.perf_counter()
                await state.propose(command, request_id=new_request_id())
                waits.append(time.perf_counter() - began)

        began = time.perf_counter()
        await asyncio.gather(*(proposer() for _ in range(in_flight)))
        return creates / (time.perf_counter() - began), waits
    finally:
        await state.close()


def repeated(creates: int, in_flight: int, repeats: int) -> dict[str, Any]:
    rates: list[float] = []
    waits: list[float] = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory(prefix="fabric-bench-") as folder:
            rate, each = asyncio.run(measure(Path(folder) / "state", creates, in_flight))
        rates.append(rate)
        waits += each
    return {
        "in_flight": in_flight,
        "creates_per_s": rate_of(rates),
        "commit_ms": spread_ms(waits),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--creates", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--in-flight", type=int, nargs="+", default=[1, 8, 32, 128])
    args = parser.parse_args()
    report = {
        "bench": "store",
        "commit": commit(),
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version()},
        "creates": args.creates,
        "repeats": args.repeats,
        "engine": [repeated(args.creates, each, args.repeats) for each in args.in_flight],
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
