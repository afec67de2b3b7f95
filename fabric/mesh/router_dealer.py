"""The real transport: one bound ROUTER to receive, one DEALER for each peer to send, CURVE on both."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import Counter
from collections.abc import Mapping
from functools import partial
from random import Random

import zmq

from fabric.mesh.contract import LinkFact, OnFrame, OnLink, PeerAddress
from fabric.mesh.curve import CurveKeyPair
from fabric.mesh.errors import TransportError
from fabric.mesh.fd_reader import FdReader
from fabric.mesh.inbound import InboundConnections
from fabric.mesh.listener_monitor import ListenerMonitor
from fabric.mesh.peer_link import PeerLink
from fabric.mesh.zap import ZapHandler
from fabric.mesh.zmq_options import new_context, set_for_listener
from proto.codec import FRAME_BYTES_MAX
from proto.ids import NodeId

log = logging.getLogger(__name__)

IDLE_S = 10.0  # a link that is not pinned and carries nothing is closed
STRANGERS_MAX = 64  # addresses remembered of those who are refused
FORMER_KEYS_MAX = 256  # remembered, so that a node that still uses one can be named


class RouterDealer:
    """A `Transport` over ZeroMQ.

    `bind` is "tcp://ADDR:PORT", port 0 for any free one. `advertise_host` replaces ADDR in `endpoint`
    where it is a wildcard or a NAT stands before it.
    """

    def __init__(
        self,
        keys: CurveKeyPair,
        *,
        bind: str,
        advertise_host: str | None = None,
        rng: Random | None = None,
        idle_s: float = IDLE_S,
    ) -> None:
        self._keys = keys
        self._bind = bind
        self._advertise_host = advertise_host
        self._rng = rng or Random()  # noqa: S311  # back-off jitter, nothing secret
        self._idle_s = idle_s
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._router: zmq.Socket[bytes] | None = None
        self._reader: FdReader | None = None
        self._zap: ZapHandler | None = None
        self._monitor: ListenerMonitor | None = None
        self._endpoint, self._port = "", 0
        self._on_frame: OnFrame | None = None
        self._on_link: OnLink | None = None
        self._addresses: dict[NodeId, PeerAddress] = {}
        self._speakers: dict[str, NodeId] = {}  # CURVE public key in hex, which is the ZAP User-Id -> node
        self._pinned: frozenset[NodeId] = frozenset()
        self._links: dict[NodeId, PeerLink] = {}
        self._inbound = InboundConnections()
        self._sweep: asyncio.TimerHandle | None = None
        self._dropped: Counter[str] = Counter()
        self._strangers: Counter[str] = Counter()
        self._former: dict[str, NodeId] = {}  # keys that spoke for a node once, the newest last
        self._former_knocked_s: dict[NodeId, float] = {}  # when one of them was last refused

    @property
    def endpoint(self) -> str:
        assert self._endpoint, "start first"
        return self._endpoint

    def dropped(self) -> Mapping[str, int]:
        return dict(self._dropped)

    def strangers(self) -> Mapping[str, int]:
        """Addresses that knocked with a key that is not admitted, and how often: what an operator needs to
        find them. Bounded, the rarest are forgotten."""
        return dict(self._strangers)

    def former_keys_ms(self) -> Mapping[NodeId, int]:
        """Nodes whose former key was refused, rotated or removed ones, and how long ago it last was."""
        now_s = time.monotonic()
        return {node_id: round((now_s - at_s) * 1_000) for node_id, at_s in self._former_knocked_s.items()}

    @property
    def link_count(self) -> int:
        return len(self._links)

    async def start(self, on_frame: OnFrame, on_link: OnLink | None = None) -> None:
        """Raises TransportError when the address cannot be bound; nothing stays open then."""
        assert self._context is None, "start once"
        self._on_frame, self._on_link = on_frame, on_link
        self._context = new_context()
        self._zap = ZapHandler(self._context, self._let_in)
        self._router = self._context.socket(zmq.ROUTER)
        set_for_listener(self._router, self._keys, self._bind)
        try:
            self._router.bind(self._bind)
        except zmq.ZMQError as error:
            await self.close()
            why = os.strerror(error.errno or 0)
            raise TransportError(f"mesh.address, mesh.port: cannot listen on {self._bind}: {why}") from error
        bound = self._router.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")
        host, _, port = bound.removeprefix("tcp://").rpartition(":")
        self._endpoint = f"tcp://{self._advertise_host or host}:{port}"
        self._port = int(port)
        self._monitor = ListenerMonitor(self._context, self._router, self._dropped)
        self._reader = FdReader(self._router, self._read_frame)

    async def close(self) -> None:
        """Drops what is queued. Idempotent."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for link in self._links.values():
            link.close()
        self._links.clear()
        self._addresses.clear()
        self._speakers.clear()
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if self._zap is not None:
            self._zap.close()
            self._zap = None
        if self._monitor is not None:
            self._monitor.close()
            self._monitor = None
        if self._router is not None:
            self._router.close()
            self._router = None
        if self._context is not None:
            context, self._context = self._context, None
            await asyncio.to_thread(context.term)  # waits for libzmq's I/O thread

    # -- who may speak, and who is dialled

    def admit(self, node_id: NodeId, address: PeerAddress) -> None:
        before = self._addresses.get(node_id)
        if before == address:
            return
        if before is not None and before.curve_public != address.curve_public:
            self._silence(node_id, before)
        self._addresses[node_id] = address
        self._speakers[address.curve_public.hex()] = node_id
        link = self._links.pop(node_id, None)
        if link is not None:
            link.close()
        if node_id in self._pinned:
            self._dial(node_id)

    def expel(self, node_id: NodeId) -> None:
        address = self._addresses.pop(node_id, None)
        link = self._links.pop(node_id, None)
        if link is not None:
            link.close()
        if address is not None:
            self._silence(node_id, address)

    def pin(self, node_ids: frozenset[NodeId]) -> None:
        before, self._pinned = self._pinned, node_ids
        for node_id in before - node_ids:
            link = self._links.get(node_id)
            if link is not None:
                link.unpin()
                self._look_for_idle_ones()
        for node_id in node_ids - before:
            link = self._links.get(node_id)
            if link is not None:
                link.pin()
            elif node_id in self._addresses:
                self._dial(node_id)

    def send(self, to: NodeId, frame: bytes) -> bool:
        assert len(frame) <= FRAME_BYTES_MAX
        link = self._links.get(to)
        if link is not None:
            return link.send(frame)
        if to in self._addresses:
            self._dial(to)
        return False

    def _dial(self, node_id: NodeId) -> None:
        assert self._context is not None, "start first"
        is_pinned = node_id in self._pinned
        self._links[node_id] = PeerLink(
            self._context,
            self._keys,
            self._addresses[node_id],
            partial(self._tell_link, node_id),
            self._rng,
            is_pinned=is_pinned,
            on_wedged=self._count_wedged,
        )
        if not is_pinned:
            self._look_for_idle_ones()

    def _count_wedged(self) -> None:
        self._dropped["link_wedged"] += 1

    def _silence(self, node_id: NodeId, address: PeerAddress) -> None:
        """That key speaks for nobody from now on, on connections it has already too."""
        speaker = address.curve_public.hex()
        if self._speakers.get(speaker) == node_id:
            del self._speakers[speaker]
            self._inbound.cut(speaker, self._port)
            self._former[speaker] = node_id
            if len(self._former) > FORMER_KEYS_MAX:
                forgotten = self._former.pop(next(iter(self._former)))
                self._former_knocked_s.pop(forgotten, None)

    def _look_for_idle_ones(self) -> None:
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(self._idle_s / 10, self._close_idle_ones)

    def _close_idle_ones(self) -> None:
        """Says nothing to anybody: a link closed because nobody used it is no news of its peer."""
        self._sweep = None
        oldest_s = asyncio.get_running_loop().time() - self._idle_s
        on_demand = [n for n, link in self._links.items() if not link.is_pinned]
        for node_id in on_demand:
            if self._links[node_id].used_s < oldest_s:
                self._links.pop(node_id).close()
        if on_demand:
            self._look_for_idle_ones()

    def _tell_link(self, node_id: NodeId, fact: LinkFact) -> None:
        log.debug("link changed", extra={"node": node_id, "fact": fact})
        if self._on_link is not None:
            self._on_link(node_id, fact)

    # -- what comes in

    def _let_in(self, key: bytes, address: str) -> str | None:
        """Asked for each handshake: one look-up. The User-Id is the key itself, so that frames of a
        connection made under a key since replaced are told from those under the new one."""
        speaker = key.hex()
        if speaker not in self._speakers:
            self._dropped["key_not_admitted"] += 1
            self._note_stranger(address)
            if speaker in self._former:
                self._former_knocked_s[self._former[speaker]] = time.monotonic()
            return None
        return speaker

    def _note_stranger(self, address: str) -> None:
        """The newest pushes the rarest out: who floods us with addresses gains nothing."""
        if address not in self._strangers and len(self._strangers) >= STRANGERS_MAX:
            del self._strangers[min(self._strangers, key=self._strangers.__getitem__)]
        self._strangers[address] += 1

    def _read_frame(self) -> None:
        """Two parts: libzmq's routing id, the frame. Received one by one: `recv_multipart(copy=False)`
        costs twice as much for each frame (measured, 10.8 against 4.3 us)."""
        router = self._router
        assert router is not None
        assert self._on_frame is not None
        routing_id = router.recv(zmq.NOBLOCK)
        body = router.recv(zmq.NOBLOCK, copy=False)
        if body.more:
            while router.getsockopt(zmq.RCVMORE):
                router.recv(zmq.NOBLOCK)
            self._dropped["not_one_frame"] += 1
            return
        speaker = str(body.get("User-Id"))
        node_id = self._speakers.get(speaker)
        if node_id is None or not self._inbound.is_known(routing_id):
            self._inbound.add(routing_id, int(body.get(zmq.SRCFD)), speaker)
        if node_id is None:  # admitted once, removed or of other keys since
            self._dropped["sender_removed"] += 1
            self._inbound.cut(speaker, self._port)
            return
        if len(body) > FRAME_BYTES_MAX:
            self._dropped["frame_too_long"] += 1
            return
        self._on_frame(node_id, body.bytes)
