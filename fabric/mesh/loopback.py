"""Transport in memory: for tests, and for role processes that share a Python process.

Keeps the contract's promises (order, bounds, allow-list on both sides, links pinned or on demand) and can
break links on purpose. Frames are delivered by the loop, never inside `send`. One promise is kept in a
simpler way: a pinned link that is lost is told once, and up again when it can be, without redials between.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Mapping

from fabric.mesh.contract import LinkFact, OnFrame, OnLink, PeerAddress
from fabric.mesh.errors import TransportError
from fabric.mesh.zmq_options import SEND_QUEUE_FRAMES_MAX
from proto.codec import FRAME_BYTES_MAX
from proto.ids import NodeId

QUEUE_FRAMES_MAX = SEND_QUEUE_FRAMES_MAX  # of one link, like the real transport's
IDLE_S = 10.0


class LoopbackNetwork:
    """The cables. Endpoints are "tcp://loopback:N"; nothing is bound to a real port."""

    def __init__(self) -> None:
        self._listening: dict[str, LoopbackTransport] = {}
        self._of_node: dict[NodeId, list[LoopbackTransport]] = {}
        self._cut: set[frozenset[str]] = set()
        self._next_port = 1

    def transport(self, node_id: NodeId, curve_public: bytes, *, idle_s: float = IDLE_S) -> LoopbackTransport:
        return LoopbackTransport(self, node_id, curve_public, idle_s=idle_s)

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
        self._of_node.setdefault(transport.node_id, []).append(transport)
        return endpoint

    def _unlisten(self, endpoint: str) -> None:
        transport = self._listening.pop(endpoint, None)
        if transport is not None:
            self._of_node[transport.node_id].remove(transport)
        self._relink_all()

    def _relink_all(self) -> None:
        for transport in list(self._listening.values()):
            transport._relink()

    def _relink_to(self, dialler: NodeId, listener: NodeId) -> None:
        """`listener` changed its mind about `dialler`."""
        for transport in list(self._of_node.get(dialler, ())):
            transport._relink(listener)

    def _fact(self, dialler: LoopbackTransport, address: PeerAddress) -> LinkFact:
        fact = self._knock(dialler, address.endpoint)
        if fact is LinkFact.UP and not self._listening[address.endpoint]._admits(dialler, address):
            return LinkFact.LOST
        return fact

    def _knock(self, caller: LoopbackTransport, endpoint: str) -> LinkFact:
        if frozenset((caller.endpoint, endpoint)) in self._cut:
            return LinkFact.LOST
        return LinkFact.UP if endpoint in self._listening else LinkFact.REFUSED

    def _deliver(self, sender: LoopbackTransport, address: PeerAddress, frame: bytes) -> None:
        listener = self._listening.get(address.endpoint)
        if listener is not None and self._fact(sender, address) is LinkFact.UP:
            listener._receive(sender, frame)


class _Link:
    def __init__(self) -> None:
        self.fact: LinkFact | None = None  # None: being dialled
        self.told: LinkFact | None = None
        self.queue: deque[bytes] = deque()
        self.used_s = asyncio.get_running_loop().time()


class LoopbackTransport:
    def __init__(
        self, network: LoopbackNetwork, node_id: NodeId, curve_public: bytes, *, idle_s: float = IDLE_S
    ) -> None:
        self.node_id = node_id
        self.curve_public = curve_public
        self._network = network
        self._idle_s = idle_s
        self._endpoint = ""
        self._on_frame: OnFrame | None = None
        self._on_link: OnLink | None = None
        self._addresses: dict[NodeId, PeerAddress] = {}
        self._pinned: frozenset[NodeId] = frozenset()
        self._links: dict[NodeId, _Link] = {}
        self._sweep: asyncio.TimerHandle | None = None
        self._dropped: Counter[str] = Counter()

    @property
    def endpoint(self) -> str:
        assert self._endpoint, "start first"
        return self._endpoint

    def dropped(self) -> Mapping[str, int]:
        return dict(self._dropped)

    @property
    def link_count(self) -> int:
        return len(self._links)

    async def start(self, on_frame: OnFrame, on_link: OnLink | None = None) -> None:
        if self._endpoint:
            raise TransportError("started already")
        self._on_frame, self._on_link = on_frame, on_link
        self._endpoint = self._network._listen(self)

    async def close(self) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        self._addresses.clear()
        self._links.clear()
        self._on_frame = self._on_link = None
        self._network._unlisten(self._endpoint)

    async def probe(self, endpoint: str) -> LinkFact:
        """What `fabric.mesh.probe` is to real endpoints."""
        return self._network._knock(self, endpoint)

    def admit(self, node_id: NodeId, address: PeerAddress) -> None:
        if self._addresses.get(node_id) == address:
            return
        self._addresses[node_id] = address
        self._links.pop(node_id, None)
        if node_id in self._pinned:
            self._dial(node_id)
        self._network._relink_to(node_id, self.node_id)

    def expel(self, node_id: NodeId) -> None:
        self._links.pop(node_id, None)
        if self._addresses.pop(node_id, None) is not None:
            self._network._relink_to(node_id, self.node_id)

    def pin(self, node_ids: frozenset[NodeId]) -> None:
        before, self._pinned = self._pinned, node_ids
        for node_id in node_ids - before:
            link = self._links.get(node_id)
            if node_id in self._addresses and (link is None or link.fact is not LinkFact.UP):
                self._dial(node_id)
        if before - node_ids:
            self._look_for_idle_ones()

    def send(self, to: NodeId, frame: bytes) -> bool:
        assert len(frame) <= FRAME_BYTES_MAX
        if to not in self._addresses:
            return False
        link = self._links.get(to)
        if link is None:
            self._dial(to)
            return False
        if link.fact is not LinkFact.UP or len(link.queue) >= QUEUE_FRAMES_MAX:
            return False
        loop = asyncio.get_running_loop()
        link.used_s = loop.time()
        link.queue.append(frame)
        loop.call_soon(self._flush_one, to, link)
        return True

    def _dial(self, node_id: NodeId) -> None:
        link = self._links[node_id] = _Link()
        asyncio.get_running_loop().call_soon(self._dialled, node_id, link)
        if node_id not in self._pinned:
            self._look_for_idle_ones()

    def _dialled(self, node_id: NodeId, link: _Link) -> None:
        if self._links.get(node_id) is link:
            self._relink(node_id)

    def _flush_one(self, to: NodeId, link: _Link) -> None:
        if link.queue and self._links.get(to) is link:
            self._network._deliver(self, self._addresses[to], link.queue.popleft())

    def _admits(self, dialler: LoopbackTransport, dialled: PeerAddress) -> bool:
        """Both keys must be the expected ones, as CURVE and ZAP see to on real links."""
        known = self._addresses.get(dialler.node_id)
        return (
            dialled.curve_public == self.curve_public
            and known is not None
            and known.curve_public == dialler.curve_public
        )

    def _receive(self, sender: LoopbackTransport, frame: bytes) -> None:
        if self._on_frame is not None:
            self._on_frame(sender.node_id, frame)

    def _relink(self, node_id: NodeId | None = None) -> None:
        """The network changed, or one peer's mind did: what is true of the links now?"""
        for peer in (node_id,) if node_id is not None else tuple(self._links):
            link = self._links.get(peer)
            if link is None:
                continue
            fact = self._network._fact(self, self._addresses[peer])
            if link.fact is fact:
                continue
            link.fact = fact
            if fact is not LinkFact.UP:
                link.queue.clear()
                if peer not in self._pinned:  # not dialled again before it is asked for
                    del self._links[peer]
            asyncio.get_running_loop().call_soon(self._tell, peer, link, fact)

    def _tell(self, node_id: NodeId, link: _Link, fact: LinkFact) -> None:
        """The real transport says LOST before it knows that it was REFUSED."""
        if self._on_link is None or node_id not in self._addresses or link.fact is not fact:
            return
        if fact is LinkFact.REFUSED and link.told is not LinkFact.LOST:
            self._on_link(node_id, LinkFact.LOST)
        link.told = fact
        if self._on_link is not None:
            self._on_link(node_id, fact)

    def _look_for_idle_ones(self) -> None:
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(self._idle_s / 10, self._close_idle_ones)

    def _close_idle_ones(self) -> None:
        self._sweep = None
        oldest_s = asyncio.get_running_loop().time() - self._idle_s
        on_demand = [n for n in self._links if n not in self._pinned]
        for node_id in on_demand:
            if self._links[node_id].used_s < oldest_s:
                del self._links[node_id]
        if on_demand:
            self._look_for_idle_ones()
