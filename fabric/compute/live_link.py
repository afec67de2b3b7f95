"""How the drivers of two hosts reach each other for a live migration: through the agents, over the mesh.

The destination expects a guest from one node, and from that node alone it takes pipes for it. What the
source's driver has to know is asked for (`migration.landing`), so it is never older than the preparation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from drivers.contract import DOOR_CHARACTERS_MAX, LANDING_BYTES_MAX, ComputeDriver, Pipe
from fabric.errors import FabricError, Outcome, RemoteError
from fabric.mesh.rpc_contract import Rpc
from fabric.runtime.pipe_end import PipeEnd
from fabric.runtime.pipes import Pipes
from proto.codec import Plain
from proto.ids import NodeId, ServerId

LANDING = "migration.landing"
LANDING_TIMEOUT_MS = 10_000
NOT_PREPARED = "fabric.migration.not_prepared"
_PURPOSE = "migration"


class MigrationNotPreparedError(FabricError):
    """The other host does not expect that guest from here, or not yet."""

    code = NOT_PREPARED
    outcome = Outcome.NOT_DONE


@dataclass(frozen=True, slots=True)
class _Expected:
    source: NodeId
    landing: bytes


class LiveLink:
    def __init__(self, rpc: Rpc, driver: ComputeDriver) -> None:
        self._rpc = rpc
        self._driver = driver
        self._expected: dict[ServerId, _Expected] = {}
        self._pipes = Pipes(rpc, self._serve)
        rpc.serve(LANDING, self._on_landing)

    async def close(self) -> None:
        await self._pipes.close()

    # -- at the destination

    def expect(self, server_id: ServerId, source: NodeId, landing: bytes) -> None:
        """From now on `source` may send that guest; replaces what was said before."""
        assert len(landing) <= LANDING_BYTES_MAX
        self._expected[server_id] = _Expected(source, landing)

    def expect_no_more(self, server_id: ServerId) -> None:
        """Pipes that are open stay so: they are the driver's (`cancel_incoming`)."""
        self._expected.pop(server_id, None)

    # -- at the source

    async def landing(self, destination: NodeId, server_id: ServerId) -> bytes:
        """Raises MigrationNotPreparedError, PeerUnreachableError, DeadlineExceededError."""
        try:
            answer = await self._rpc.call(
                destination, LANDING, {"server_id": server_id}, timeout_ms=LANDING_TIMEOUT_MS
            )
        except RemoteError as error:
            raise MigrationNotPreparedError(f"node {destination}: {error.message}") from error
        landing = answer.get("landing") if isinstance(answer, Mapping) else None
        if not isinstance(landing, bytes) or len(landing) > LANDING_BYTES_MAX:
            raise MigrationNotPreparedError(f"node {destination} answers in words that are not known")
        return landing

    def other_host(self, destination: NodeId, server_id: ServerId) -> ReachedHost:
        return ReachedHost(self._pipes, destination, server_id)

    # -- from the mesh

    async def _on_landing(self, sender: NodeId, body: Mapping[str, Plain]) -> Plain:
        return {"landing": self._expect_from(sender, body.get("server_id")).landing}

    async def _serve(self, sender: NodeId, purpose: str, pipe: PipeEnd) -> None:
        words = purpose.split(" ")
        if len(words) != 3 or words[0] != _PURPOSE or len(words[2]) > DOOR_CHARACTERS_MAX:
            raise RemoteError("fabric.pipe.invalid", "a pipe for nothing that is known", Outcome.NOT_DONE)
        self._expect_from(sender, words[1])
        await self._driver.serve_incoming(ServerId(words[1]), words[2], pipe)

    def _expect_from(self, sender: NodeId, server_id: Plain) -> _Expected:
        expected = self._expected.get(ServerId(server_id)) if isinstance(server_id, str) else None
        if expected is None or expected.source != sender:
            raise RemoteError(NOT_PREPARED, "no guest of that server is expected from you", Outcome.NOT_DONE)
        return expected


@dataclass(frozen=True, slots=True)
class ReachedHost:
    """`drivers.contract.OtherHost` over the mesh."""

    pipes: Pipes
    node_id: NodeId
    server_id: ServerId

    async def connect(self, door: str) -> Pipe:
        return await self.pipes.connect(self.node_id, f"{_PURPOSE} {self.server_id} {door}")
