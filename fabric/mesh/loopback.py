"""Transport in memory: for tests, and for role processes that share a Python process.

Keeps the contract's promises (order, bounds, allow-list on both sides) and can break links on
purpose. Frames are delivered by the loop, never inside `send`.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Mapping

from fabric.mesh.contract import LinkFact, OnFrame, OnLink, PeerAddress
from fabric.mesh.errors import TransportError
from proto.codec import FRAME_BYTES_MAX
from proto.ids import NodeId

QUEUE_FRAMES_MAX = 256  # of one link, like the real transport's


class LoopbackNetwork:
    """The cables. Endpoints are "tcp://loopback:N"; nothing is bound to a real port."""

    def __init__(self) -> None:
        self._listening: dict[str, LoopbackTransport] = {}
        self._cut: set[frozenset[str]] = set()
        self._next_port = 1

    def transport(self, node_id: NodeId, curve_public: bytes) -> LoopbackTransport:
        return LoopbackTransport(self, node_id, curve_public)

    def cut(self, one: str, other: str) -> None:
        """No frame passes between two endpoints; both see the link lost."""
        self._cut.add(frozenset((one, other)))
        self._relink_all()

    def heal(self) -> None:
        self._cut.clear()
        self._relink_all()

    def _listen(self, transport: LoopbackTransport) -> str:
        endpoint = f"tcp://loopback:{self._next_port}"
        self._next_port += 1
        self._listening[endpoint] = transport
        return endpoint

    def _unlisten(self, endpoint: str) -> None:
        self._listening.pop(endpoint, None)
        self._relink_all()

    def _relink_all(self) -> None:
        for transport in list(self._listening.values()):
            transport._relink()

    def _fact(self, dialler: LoopbackTransport, address: PeerAddress) -> LinkFact:
        if frozenset((dialler.endpoint, address.endpoint)) in self._cut:
            return LinkFact.LOST
        listener = self._listening.get(address.endpoint)
        if listener is None:
            return LinkFact.REFUSED
        return LinkFact.UP if listener._admits(dialler, address) else LinkFact.LOST

    def _deliver(self, sender: LoopbackTransport, address: PeerAddress, frame: bytes) -> None:
        listener = self._listening.get(address.endpoint)
        if listener is not None and self._fact(sender, address) is LinkFact.UP:
            listener._receive(sender, frame)


class LoopbackTransport:
    def __init__(self, network: LoopbackNetwork, node_id: NodeId, curve_public: bytes) -> None:
        self.node_id = node_id
        self.curve_public = curve_public
        self._network = network
        self._endpoint = ""
        self._on_frame: OnFrame | None = None
        self._on_link: OnLink | None = None
        self._peers: dict[NodeId, PeerAddress] = {}
        self._facts: dict[NodeId, LinkFact] = {}
        self._queues: dict[NodeId, deque[bytes]] = {}
        self._dropped: Counter[str] = Counter()

    @property
    def endpoint(self) -> str:
        assert self._endpoint, "start first"
        return self._endpoint

    def dropped(self) -> Mapping[str, int]:
        return dict(self._dropped)

    async def start(self, on_frame: OnFrame, on_link: OnLink | None = None) -> None:
        if self._endpoint:
            raise TransportError("started already")
        self._on_frame, self._on_link = on_frame, on_link
        self._endpoint = self._network._listen(self)

    async def close(self) -> None:
        self._peers, self._facts = {}, {}
        self._queues.clear()
        self._on_frame = self._on_link = None
        self._network._unlisten(self._endpoint)

    def set_peers(self, peers: Mapping[NodeId, PeerAddress]) -> None:
        changed = {n for n, address in self._peers.items() if peers.get(n) != address}
        for node_id in changed:
            self._facts.pop(node_id, None)
            self._queues.pop(node_id, None)
        self._peers = dict(peers)
        self._network._relink_all()

    def send(self, to: NodeId, frame: bytes) -> bool:
        assert len(frame) <= FRAME_BYTES_MAX
        if self._facts.get(to) is not LinkFact.UP:
            self._dropped["no_link_or_full"] += 1
            return False
        queue = self._queues.setdefault(to, deque())
        if len(queue) >= QUEUE_FRAMES_MAX:
            self._dropped["no_link_or_full"] += 1
            return False
        queue.append(frame)
        asyncio.get_running_loop().call_soon(self._flush_one, to)
        return True

    def _flush_one(self, to: NodeId) -> None:
        queue, address = self._queues.get(to), self._peers.get(to)
        if queue and address is not None:
            self._network._deliver(self, address, queue.popleft())

    def _admits(self, dialler: LoopbackTransport, dialled: PeerAddress) -> bool:
        """Both keys must be the expected ones, as CURVE and ZAP see to on real links."""
        known = self._peers.get(dialler.node_id)
        return (
            dialled.curve_public == self.curve_public
            and known is not None
            and known.curve_public == dialler.curve_public
        )

    def _receive(self, sender: LoopbackTransport, frame: bytes) -> None:
        if self._on_frame is not None:
            self._on_frame(sender.node_id, frame)

    def _relink(self) -> None:
        for node_id, address in self._peers.items():
            fact = self._network._fact(self, address)
            if self._facts.get(node_id) is not fact:
                self._facts[node_id] = fact
                asyncio.get_running_loop().call_soon(self._tell, node_id, fact)

    def _tell(self, node_id: NodeId, fact: LinkFact) -> None:
        if self._on_link is not None and self._facts.get(node_id) is fact:
            self._on_link(node_id, fact)
