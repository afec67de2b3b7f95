"""How long from "a server is created" to "its place is proposed", and how long does that hold the event loop?

Back of an envelope: what changed since the last round is a few hosts, read by their ids in 1 ms; to put one
into the table takes 20 us, to choose among 10,000 hosts 0.5 ms: some milliseconds, whatever the number of
hosts. A table made anew takes SQLite 5 us a server and 20 us a host for the rows, 10 us a host for what
the fleet says and the columns: at 10,000 hosts with two servers each 0.4 s.

    python bench/scheduling_round.py [--hosts 100 1000 10000] [--servers 2] [--creates 50] [--burst 256]
                                     [--cells 0] [--table]

Real rows in the embedded engine, the real scheduler beside it; a membership table that says that all live.
`first`: the round that makes the table. `one`: servers created one after another, each when the one before
it was placed. `burst`: so many at once, until the last place is proposed. `vain`: a server that no host can
take, until it is told so. `hold`: the longest that one callback of the scheduler kept the event loop
meanwhile, `hold_busy`: of it on a processor, which other programs disturb less. With `--cells`, all hosts
tell so many NUMA cells, and `cells` is a server of each kind that asks for some, the first of its kind;
`cells_one`: more of one kind, one after another. Milliseconds. Prints one JSON object, or a table.
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
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench._hosts_with_servers import Furnished, furnish, propose_all
from bench._loop_holds import timed_callbacks
from bench._server_creates import create
from bench._spread import commit, spread_ms
from fabric.core.queries import Applied
from fabric.runtime.clock import SystemClock
from fabric.runtime.collection import settle
from fabric.runtime.hard_state import HardState
from fabric.runtime.scheduler_loop import SchedulerLoop
from fabric.store.engine import Engine
from fabric.store.lone_voter import lone_voter
from proto.commands import Command
from proto.commands.catalog import FlavorCreate, FlavorUpdate
from proto.commands.servers import ServerCreate, ServerPlace, ServerUnplaceable
from proto.ids import FlavorId, RequestId, ServerId, new_request_id

HUGE = FlavorId("huge")
# What each kind asks of cells; the last one finds no host.
KINDS = {
    "two-nodes": {"hw:numa_nodes": "2"},
    "pinned": {"hw:cpu_policy": "dedicated"},
    "huge-pages": {"hw:numa_nodes": "2", "hw:mem_page_size": "large"},
    "one-node": {"hw:numa_nodes": "1"},
    "in-vain": {"hw:numa_nodes": "2", "hw:mem_page_size": "16MB"},
}
BAR_HOLD_MS = 10
SCHEDULER = "scheduler under test"


class Watched:
    """The scheduler's state: notes when it proposes what becomes of a server."""

    def __init__(self, state: Engine) -> None:
        self._state = state
        self.proposed: dict[ServerId, float] = {}
        self.placed: dict[ServerId, asyncio.Event] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._state, name)

    async def propose(self, command: Command, *, request_id: RequestId) -> Applied:
        if isinstance(command, ServerPlace | ServerUnplaceable):
            self.proposed.setdefault(command.server_id, time.perf_counter())
        applied = await self._state.propose(command, request_id=request_id)
        if isinstance(command, ServerPlace | ServerUnplaceable):
            self.placed.setdefault(command.server_id, asyncio.Event()).set()
        return applied


class World:
    def __init__(self, state: Engine, furnished: Furnished) -> None:
        self.state = state
        self.watched = Watched(state)
        self._tenant = furnished.tenant
        self._number = len(furnished.servers)

    def made(self, count: int) -> list[ServerCreate]:
        now_ms = SystemClock().wall_ms()
        numbers = range(self._number, self._number + count)
        self._number += count
        return [create(self._tenant, number, now_ms) for number in numbers]

    def of(self, kind: str) -> list[ServerCreate]:
        return [replace(each, flavor_id=FlavorId(kind)) for each in self.made(1)]

    async def decided(self, servers: Sequence[ServerCreate]) -> float:
        """Seconds from when they are all created until the last of them has its place proposed."""
        await propose_all(self.state, iter(servers))
        began = time.perf_counter()
        for each in servers:
            await self.watched.placed.setdefault(each.server_id, asyncio.Event()).wait()
        return max(self.watched.proposed[each.server_id] for each in servers) - began


async def measure(hosts: int, servers: int, creates: int, burst: int, cells: int = 0) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="fabric-bench-") as folder:
        state = lone_voter(Path(folder) / "state", clock=SystemClock())
        await state.open()
        try:
            furnished = await furnish(state, hosts, servers, cells)
            huge = FlavorCreate(flavor_id=HUGE, name="huge", vcpus=1_000, memory_mb=1 << 30, root_gb=1)
            await state.propose(huge, request_id=new_request_id())
            await _kinds(state)
            world = World(state, furnished)
            watched, fence = cast(HardState, world.watched), furnished.fence
            settle()  # as an agent does; what furnishing left is set aside with the rest
            scheduler = SchedulerLoop(watched, furnished.fleet, lambda: fence, SystemClock())
            work = asyncio.create_task(scheduler.run(), name=SCHEDULER)
            try:
                return {"hosts": hosts, **await _measured(world, creates, burst, bool(cells))}
            finally:
                work.cancel()
                await asyncio.gather(work, return_exceptions=True)
        finally:
            await state.close()


async def _kinds(state: Engine) -> None:
    for name, specs in KINDS.items():
        flavor_id = FlavorId(name)
        flavor = FlavorCreate(flavor_id=flavor_id, name=name, vcpus=2, memory_mb=64, root_gb=1)
        await state.propose(flavor, request_id=new_request_id())
        asks = FlavorUpdate(flavor_id=flavor_id, extra_specs_set=specs)
        await state.propose(asks, request_id=new_request_id())


async def _measured(world: World, creates: int, burst: int, with_cells: bool) -> dict[str, Any]:
    vain: Callable[[ServerCreate], ServerCreate] = lambda each: replace(each, flavor_id=HUGE)  # noqa: E731
    measured = {
        "first": await _timed(world, [world.made(1)]),
        "one": await _timed(world, [world.made(1) for _ in range(creates)]),
        "burst": {"servers": burst, **await _timed(world, [world.made(burst)])},
        "vain": await _timed(world, [[vain(each)] for each in world.made(5)]),
    }
    if with_cells:
        measured["cells"] = {name: await _timed(world, [world.of(name)]) for name in KINDS}
        measured["cells_one"] = await _timed(world, [world.of("one-node") for _ in range(creates)])
    return measured


async def _timed(world: World, rounds: Sequence[Sequence[ServerCreate]]) -> dict[str, Any]:
    with timed_callbacks() as holds:
        took = [await world.decided(each) for each in rounds]
    own = [each for each in holds if each.whose == SCHEDULER]
    return {
        "decided": spread_ms(took),
        "hold": round(max(each.wall_s for each in own) * 1_000, 1),
        "hold_busy": round(max(each.busy_s for each in own) * 1_000, 1),
    }


def table(report: dict[str, Any]) -> str:
    lines = [
        "| hosts | first | one p50 | p95 | burst | vain | held (busy) by first | one | burst | vain | bar |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for size in report["sizes"]:
        first, one, burst, vain = (size[name] for name in ("first", "one", "burst", "vain"))
        cells = (
            size["hosts"], first["decided"]["p50"], one["decided"]["p50"], one["decided"]["p95"],
            burst["decided"]["p50"], vain["decided"]["p50"],
            *(f"{each['hold']} ({each['hold_busy']})" for each in (first, one, burst, vain)), BAR_HOLD_MS,
        )  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hosts", type=int, nargs="+", default=[100, 1_000, 10_000])
    parser.add_argument("--servers", type=int, default=2, help="on each host")
    parser.add_argument("--creates", type=int, default=50, help="one after another")
    parser.add_argument("--burst", type=int, default=256, help="at once")
    parser.add_argument("--cells", type=int, default=0, help="that each host tells")
    parser.add_argument("--table", action="store_true")
    args = parser.parse_args()
    sizes = [
        asyncio.run(measure(count, args.servers, args.creates, args.burst, args.cells))
        for count in args.hosts
    ]
    report = {
        "bench": "scheduling_round",
        "commit": commit(),
        "machine": {"cpus": os.cpu_count(), "load": os.getloadavg(), "python": platform.python_version()},
        "bar_hold_ms": BAR_HOLD_MS,
        "sizes": sizes,
    }
    print(table(report) if args.table else json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
