"""How the drivers of two hosts reach each other for a live migration: through the agents, over the mesh.

The destination expects a guest from one node, and from that node alone it takes pipes for it. What the
source's driver has to know is asked for (`migration.landing`), so it is never older than the preparation.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
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
WHY_CHARACTERS_MAX = 500
NOT_PREPARED = "fabric.migration.not_prepared"
REFUSED = "fabric.migration.refused"
_PURPOSE = "migration"


class MigrationNotPreparedError(FabricError):
    """The other host does not expect that guest from here, or not yet."""

    code = NOT_PREPARED
    outcome = Outcome.NOT_DONE


class MigrationRefusedError(FabricError):
    """The other host cannot take that guest, and says why."""

    code = REFUSED
    outcome = Outcome.NOT_DONE


@dataclass(slots=True)
class _Expected:
    source: NodeId
    landing: bytes
    why_not: str = ""  # it cannot come
    is_used: bool = False  # something has come for it


class LiveLink:
    def __init__(self, rpc: Rpc, driver: ComputeDriver, on_change: Callable[[], None] = lambda: None) -> None:
        """`on_change`: a guest may have arrived, or is to be prepared for anew. Never blocks."""
        self._rpc = rpc
        self._on_change = on_change
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

    def refuse(self, server_id: ServerId, source: NodeId, why: str) -> None:
        """It cannot come: `source` is told why."""
        self._expected[server_id] = _Expected(source, b"", why_not=why[:WHY_CHARACTERS_MAX])

    def expects(self, server_id: ServerId) -> bool:
        """Whether it is said already what becomes of that guest."""
        return server_id in self._expected

    def expect_only(self, server_ids: Collection[ServerId]) -> None:
        """Pipes that are open stay so: they are the driver's (`cancel_incoming`)."""
        for server_id in [each for each in self._expected if each not in server_ids]:
            del self._expected[server_id]

    # -- at the source

    async def landing(self, destination: NodeId, server_id: ServerId) -> bytes:
        """Raises MigrationNotPreparedError (ask again), MigrationRefusedError, PeerUnreachableError,
        DeadlineExceededError."""
        try:
            answer = await self._rpc.call(
                destination, LANDING, {"server_id": server_id}, timeout_ms=LANDING_TIMEOUT_MS
            )
        except RemoteError as error:
            if error.remote_code == REFUSED:
                raise MigrationRefusedError(error.message) from error
            raise MigrationNotPreparedError(f"node {destination}: {error.message}") from error
        landing = answer.get("landing") if isinstance(answer, Mapping) else None
        if not isinstance(landing, bytes) or len(landing) > LANDING_BYTES_MAX:
            raise MigrationNotPreparedError(f"node {destination} answers in words that are not known")
        return landing

    def other_host(self, destination: NodeId, server_id: ServerId) -> ReachedHost:
        return ReachedHost(self._pipes, destination, server_id)

    # -- from the mesh

    async def _on_landing(self, sender: NodeId, body: Mapping[str, Plain]) -> Plain:
        """One that was used has half a guest in it, maybe. The next try is made ready for afresh."""
        server_id = body.get("server_id")
        expected = self._expect_from(sender, server_id)
        if expected.why_not:
            raise RemoteError(REFUSED, expected.why_not, Outcome.NOT_DONE)
        if expected.is_used:
            del self._expected[ServerId(str(server_id))]
            self._on_change()
            raise RemoteError(NOT_PREPARED, "that guest is to be prepared for anew", Outcome.NOT_DONE)
        return {"landing": expected.landing}

    async def _serve(self, sender: NodeId, purpose: str, pipe: PipeEnd) -> None:
        words = purpose.split(" ")
        if len(words) != 3 or words[0] != _PURPOSE or len(words[2]) > DOOR_CHARACTERS_MAX:
            raise RemoteError("fabric.pipe.invalid", "a pipe for nothing that is known", Outcome.NOT_DONE)
        self._expect_from(sender, words[1]).is_used = True
        try:
            await self._driver.serve_incoming(ServerId(words[1]), words[2], pipe)
        finally:
            self._on_change()

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
