"""Bare TCP connections on the core's behalf, a bounded number at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from fabric.mesh.contract import LinkFact
from proto.ids import NodeId
from proto.membership import Finding

KNOCKS_MAX = 64  # at once; after a site lost its power hundreds may be asked for, and each takes a descriptor

Probe = Callable[[str], Awaitable[LinkFact]]
OnFinding = Callable[[NodeId, Finding], None]

_FINDING = {
    LinkFact.UP: Finding.REACHABLE,
    LinkFact.REFUSED: Finding.REFUSED,
    LinkFact.LOST: Finding.SILENT,
}


class Knocker:
    """`on_finding` is called once for each `knock`, but for one of a node that is knocked at already: both
    get the answer of the first."""

    def __init__(self, probe: Probe, on_finding: OnFinding) -> None:
        self._probe = probe
        self._on_finding = on_finding
        self._room = asyncio.Semaphore(KNOCKS_MAX)
        self._tasks: dict[tuple[NodeId, str], asyncio.Task[None]] = {}

    def knock(self, node_id: NodeId, endpoint: str) -> None:
        key = (node_id, endpoint)
        if key not in self._tasks:
            task = asyncio.get_running_loop().create_task(self._knock(node_id, endpoint), name="knock")
            self._tasks[key] = task
            task.add_done_callback(lambda _: self._tasks.pop(key))

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _knock(self, node_id: NodeId, endpoint: str) -> None:
        async with self._room:
            fact = await self._probe(endpoint)
        self._on_finding(node_id, _FINDING[fact])
