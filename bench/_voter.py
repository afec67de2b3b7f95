"""One voter as a process: a mesh with CURVE over loopback, the route, the engine, the state that asks whoever
leads. All of an agent that a write passes, and nothing else.

    python -m bench._voter SETTINGS      with a Unix socket to the benchmark as standard input

SETTINGS and orders are JSON, an order or an answer a line. Orders are carried out as they come, several at a
time; an answer bears its order's number. Times are of CLOCK_MONOTONIC, which all processes share. It ends
when the socket does.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from bench import _voter_profile
from bench._log_load import load, put
from bench._server_creates import Tenant, found
from fabric.core.membership.record import node_id_of
from fabric.core.raft.configuration import Configuration
from fabric.core.raft.pipeline import Fold
from fabric.mesh.contract import PeerAddress
from fabric.mesh.curve import CurveKeyPair
from fabric.mesh.router_dealer import RouterDealer
from fabric.mesh.rpc import MeshRpc
from fabric.mesh.switchboard import Switchboard
from fabric.runtime.clock import SystemClock
from fabric.runtime.log_service import LogService
from fabric.runtime.voter_peers import MeshPeers, VoterRoute
from fabric.runtime.voter_state import VoterState
from fabric.store import voter_compaction
from fabric.store.apply import Entry, Outcome
from fabric.store.voter_engine import VoterEngine
from fabric.store.voter_tables import Folded
from proto.commands.networks import NetworkDelete
from proto.ids import FabricId, LogIndex, NetworkId, NodeId, RequestId, VoterId, voter_of
from proto.raft import EntryKind, LogEntry

FABRIC = FabricId("bench")
UNREAD = NetworkDelete(network_id=NetworkId("unread"))
LINE_BYTES_MAX = 64 << 20


class LogOnlyEngine(VoterEngine):
    """Everything but the state machine: what is committed is answered, and kept in the log only."""

    def _fold(self, fold: Fold) -> list[Folded | None]:
        return [_unread(entry) for entry in fold.entries]


def _unread(entry: LogEntry) -> Folded | None:
    if entry.kind is not EntryKind.COMMAND:
        return None
    return Folded(Entry(entry.index, 0, RequestId(""), b"", UNREAD), Outcome(entry.index, {}))


class Voter:
    def __init__(self, settings: dict[str, Any]) -> None:
        keys = CurveKeyPair(bytes.fromhex(settings["public"]), bytes.fromhex(settings["secret"]))
        self._node_id = node_id_of(keys.public)
        self._directory = Path(settings["directory"])
        self._kind = LogOnlyEngine if settings["log_only"] else VoterEngine
        self._clock = SystemClock()
        self._board = Switchboard(RouterDealer(keys, bind=settings["bind"]), FABRIC)
        self._rpc = MeshRpc(self._node_id, self._board)
        self._route = VoterRoute(self._board, self._rpc, may_vote=lambda node_id: True)
        if settings["compact_entries"] is not None:
            voter_compaction.COMPACT_ENTRIES = settings["compact_entries"]
            voter_compaction.TRAIL_ENTRIES = settings["compact_entries"] // 2
        self._engine: VoterEngine
        self._state: VoterState
        self._writes: asyncio.Task[list[float]] | None = None
        self._profiles: list[Any] = []

    async def start(self) -> dict[str, Any]:
        await self._board.start()
        voter = voter_of(self._node_id, "00000000")
        return {"node_id": self._node_id, "voter": voter, "endpoint": self._board.endpoint}

    # -- orders

    async def know(self, nodes: dict[str, tuple[str, str]]) -> None:
        for node_id, (endpoint, public) in nodes.items():
            if node_id != self._node_id:
                self._board.admit(NodeId(node_id), PeerAddress(endpoint, bytes.fromhex(public)))

    async def open(self, founders: Sequence[str]) -> float:
        """Seconds that it took."""
        me = voter_of(self._node_id, "00000000")
        peers = MeshPeers(self._route, me, incarnation=1)
        self._engine = self._kind(
            self._directory,
            me,
            founders=Configuration(frozenset(map(VoterId, founders))),
            clock=self._clock,
            rng=Random(),  # jitter of elections
            peers=peers,
        )
        began = time.monotonic()
        await self._engine.open()
        took = time.monotonic() - began
        peers.attach(self._engine)
        LogService(self._engine, self._rpc)
        self._state = VoterState(self._engine, self._rpc, self._clock)
        return took

    async def status(self) -> dict[str, Any]:
        engine = self._engine
        return {
            "is_leader": engine.is_leader,
            "leader": engine.leader_id,
            "applied": engine.applied_index,
            "log_starts_after": engine._need_node().log.mark.index,
            "members": sorted(engine.configuration.members),
            "failure": None if engine.failure is None else str(engine.failure),
        }

    async def wait_applied(self, index: int) -> float:
        """When this voter's rows held that entry."""
        await self._state.wait_applied(LogIndex(index), timeout_ms=300_000)
        return time.monotonic()

    async def found(self) -> dict[str, Any]:
        tenant = await found(self._state)
        return {name: getattr(tenant, name) for name in Tenant.__slots__}

    async def load(self, **wanted: Any) -> dict[str, Any]:
        return await load(self._engine, **wanted)

    async def put(self) -> float:
        """When one write, proposed now, was answered."""
        await put(self._state)
        return time.monotonic()

    async def begin_writes(self) -> None:
        """One after the other, until `end_writes`, which tells when each was answered."""
        self._writes = asyncio.create_task(self._write_on())
        self._is_writing = True

    async def end_writes(self) -> list[float]:
        assert self._writes is not None
        self._is_writing = False
        return await self._writes

    async def _write_on(self) -> list[float]:
        answered = [time.monotonic()]
        while self._is_writing:
            await put(self._state)
            answered.append(time.monotonic())
        return answered

    async def transfer(self, to: str) -> None:
        self._engine.transfer(VoterId(to))

    async def change(self, voters: Sequence[str], learners: Sequence[str]) -> None:
        self._engine.change(frozenset(map(VoterId, voters)), frozenset(map(VoterId, learners)))

    async def snapshots(self) -> list[int]:
        """Sizes of those this voter holds or receives."""
        return [path.stat().st_size for path in (self._directory / "snapshots").glob("*")]

    async def begin_profile(self) -> None:
        self._profiles = _voter_profile.begin(self._engine)

    async def end_profile(self) -> dict[str, list[str]]:
        return _voter_profile.end(self._profiles)


async def serve(settings: dict[str, Any], end: socket.socket) -> None:
    reader, writer = await asyncio.open_connection(sock=end, limit=LINE_BYTES_MAX)
    voter = Voter(settings)
    under_way: set[asyncio.Task[None]] = set()

    def answer(number: int, **said: object) -> None:
        writer.write(json.dumps({"number": number, **said}).encode() + b"\n")

    async def carry_out(number: int, name: str, arguments: dict[str, Any]) -> None:
        try:
            answer(number, answer=await getattr(voter, name)(**arguments))
        except Exception as error:  # the benchmark decides what it means
            answer(number, error=f"{type(error).__name__}: {error}")

    while line := await reader.readline():
        task = asyncio.create_task(carry_out(**json.loads(line)))
        under_way.add(task)
        task.add_done_callback(under_way.discard)


if __name__ == "__main__":
    with socket.socket(fileno=0) as end:
        asyncio.run(serve(json.loads(sys.argv[1]), end))
