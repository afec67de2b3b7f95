"""The loopback transport with delay, loss and kills. Frames of one link stay in order."""

from __future__ import annotations

import asyncio
from contextvars import Context
from random import Random

from fabric.mesh.contract import LinkFact, PeerAddress
from fabric.mesh.loopback import LoopbackNetwork, LoopbackTransport
from proto.ids import NodeId
from tests.sim.virtual_loop import Process

DELAY_S = (0.0002, 0.004)


class LossyNetwork(LoopbackNetwork):
    def __init__(self, rng: Random) -> None:
        super().__init__()
        self._rng = rng
        self.loss = 0.0
        self.lost = 0
        self._busy_until: dict[tuple[str, str], float] = {}

    def wired(self, node_id: NodeId, public: bytes, process: Process) -> LossyTransport:
        return LossyTransport(self, node_id, public, process)

    def unplug(self, transport: LoopbackTransport) -> None:
        """The process is gone: its port refuses."""
        self._unlisten(transport.endpoint)

    def splice(self, one: str, other: str) -> None:
        """Undoes one cut."""
        self._cut.discard(frozenset((one, other)))
        self._relink_all()

    def mend(self) -> None:
        self.loss = 0.0
        self.heal()

    def _deliver(self, sender: LoopbackTransport, address: PeerAddress, frame: bytes) -> None:
        listener = self._listening.get(address.endpoint)
        if not isinstance(listener, LossyTransport) or self._fact(sender, address) is not LinkFact.UP:
            return
        if self._rng.random() < self.loss:
            self.lost += 1
            return
        loop = asyncio.get_running_loop()
        link = (sender.endpoint, address.endpoint)
        when = max(loop.time() + self._rng.uniform(*DELAY_S), self._busy_until.get(link, 0.0))
        self._busy_until[link] = when
        arrive = super()._deliver
        loop.call_at(when, arrive, sender, address, frame, context=listener.context())


class LossyTransport(LoopbackTransport):
    def __init__(self, network: LossyNetwork, node_id: NodeId, public: bytes, process: Process) -> None:
        super().__init__(network, node_id, public)
        self._process = process

    def context(self) -> Context:
        return self._process.context()

    def _relink(self, node_id: NodeId | None = None) -> None:
        if not self._process.is_dead:
            self._process.run(super()._relink, node_id)  # news of a link are heard by its own process
