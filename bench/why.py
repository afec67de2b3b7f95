"""How long does `fabric why` take?

Back of an envelope: reading the hosts and summing the claims of their servers is SQLite's work, 5 us a row;
making a host's row of the table 10 us; a verdict in words 2 us for each host and filter that refuses it. At
1,000 hosts 50 ms, of which the explanation is the least; the bar is 200 ms.

    python bench/why.py [--hosts 100 1000 10000] [--servers 2] [--repeats 20] [--table]

Real rows in the embedded engine, of one node; a membership table that only says that all live. `placed`: of a
server that is on a host, and would fit on all. `huge`: of one that no host can take, so that every host is
refused and changes are looked for. `read`: all rows and the host table made of them, which is done once: an
agent keeps it; `explain`: the core; `why`: the whole, to the answer's bytes. Milliseconds. Prints one JSON
object, or a table.
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
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench._hosts_with_servers import AllAlive, furnish
from bench._server_creates import Tenant, create
from bench._spread import commit, spread_ms
from fabric.control import explanation_view, explanations
from fabric.control.context import Caller, Cloud
from fabric.control.policy import implied_roles
from fabric.core.placement.explain import explain
from fabric.core.placement.queries import GetPlacementRequest
from fabric.runtime.clock import SystemClock
from fabric.runtime.host_view import read_table
from fabric.runtime.shared_table import SharedTable
from fabric.store.engine import Engine
from fabric.store.lone_voter import lone_voter
from proto.commands.catalog import FlavorCreate
from proto.commands.servers import ServerCreate
from proto.ids import DomainId, FlavorId, ServerId, UserId, new_request_id

BAR_MS = {1_000: 200}  # p50
HUGE = FlavorId("huge")


async def _furnished(state: Engine, count: int, servers: int) -> tuple[AllAlive, list[ServerId]]:
    """Also a server that is huge, and on no host."""
    world = await furnish(state, count, servers)
    flavor = FlavorCreate(flavor_id=HUGE, name="huge", vcpus=1_000, memory_mb=1 << 30, root_gb=1)
    await state.propose(flavor, request_id=new_request_id())
    huge = _huge(world.tenant, count * servers)
    await state.propose(huge, request_id=new_request_id())
    return world.fleet, [world.servers[0].server_id, huge.server_id]


def _huge(tenant: Tenant, number: int) -> ServerCreate:
    return replace(create(tenant, number, SystemClock().wall_ms()), flavor_id=HUGE)


async def measure(count: int, servers: int, repeats: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="fabric-bench-") as folder:
        state = lone_voter(Path(folder) / "state", clock=SystemClock())
        await state.open()
        try:
            fleet, (placed, huge) = await _furnished(state, count, servers)
            # nobody asks for a host or an image here
            clock, shared = SystemClock(), SharedTable(state, fleet, SystemClock(), is_told_first=True)
            shared.listen()
            cloud = Cloud(state=state, fleet=fleet, hosts=None, blobs=None, clock=clock, table=shared)  # type: ignore[arg-type]
            return {
                "hosts": count,
                "servers": count * servers,
                "placed": await _measure_one(cloud, placed, repeats),
                "huge": await _measure_one(cloud, huge, repeats),
                "bar_ms": BAR_MS.get(count),
            }
        finally:
            await state.close()


async def _measure_one(cloud: Cloud, server_id: ServerId, repeats: int) -> dict[str, Any]:
    request = await cloud.state.read(GetPlacementRequest(server_id=server_id))
    assert request is not None
    table = await read_table(cloud.state, cloud.fleet, [request], except_server=server_id)
    answer = b""

    async def why() -> None:
        nonlocal answer
        found = await explanations.why(cloud, _admin(), server_id)
        answer = json.dumps(explanation_view.explanation(found, is_admin=True)).encode()

    async def read() -> None:
        await read_table(cloud.state, cloud.fleet, [request], except_server=server_id)

    async def core() -> None:
        explain(request, table, cloud.placement)

    shown: dict[str, Any] = {}
    for name, work in (("why", why), ("read", read), ("explain", core)):
        walls, processor = await _timed(work, repeats)
        shown[name] = {**spread_ms(walls), "processor_p50": spread_ms(processor)["p50"]}
    return {**shown, "answer_bytes": len(answer)}


async def _timed(work: Callable[[], Awaitable[None]], repeats: int) -> tuple[list[float], list[float]]:
    """Seconds of the wall, and of this process on processors, which others disturb less."""
    await work()  # what is made once
    walls, processor = [], []
    for _ in range(repeats):
        began, busy = time.perf_counter(), time.process_time()
        await work()
        walls.append(time.perf_counter() - began)
        processor.append(time.process_time() - busy)
    return walls, processor


def _admin() -> Caller:
    return Caller(
        user_id=UserId(""),
        user_name="bench",
        domain_id=DomainId("default"),
        project_id=None,
        project_name=None,
        roles=implied_roles(["admin"]),
        request_id=new_request_id(),
    )


def table(report: dict[str, Any]) -> str:
    lines = [
        "| hosts | of | why p50 | p95 | of it on processors | read p50 | explain p50 | bar |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for size in report["sizes"]:
        for of in ("placed", "huge"):
            one = size[of]
            cells = (
                size["hosts"], of, one["why"]["p50"], one["why"]["p95"],
                one["why"]["processor_p50"], one["read"]["p50"],
                one["explain"]["p50"], size["bar_ms"] or "-",
            )  # fmt: skip
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hosts", type=int, nargs="+", default=[100, 1_000, 10_000])
    parser.add_argument("--servers", type=int, default=2, help="on each host")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--table", action="store_true")
    args = parser.parse_args()
    sizes = [asyncio.run(measure(count, args.servers, args.repeats)) for count in args.hosts]
    report = {
        "bench": "why",
        "commit": commit(),
        "machine": {"cpus": os.cpu_count(), "load": os.getloadavg(), "python": platform.python_version()},
        "repeats": args.repeats,
        "sizes": sizes,
    }
    print(table(report) if args.table else json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
