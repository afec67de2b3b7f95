"""The real transport: one bound ROUTER to receive, one DEALER for each peer to send, CURVE on both."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket as sockets
from collections import Counter
from collections.abc import Mapping
from functools import partial
from random import Random

import zmq

from fabric.mesh.contract import LinkFact, OnFrame, OnLink, PeerAddress
from fabric.mesh.curve import CurveKeyPair
from fabric.mesh.errors import TransportError
from fabric.mesh.fd_reader import FdReader
from fabric.mesh.peer_link import PeerLink
from fabric.mesh.zap import ZapHandler
from fabric.mesh.zmq_options import new_context, set_for_listener
from proto.codec import FRAME_BYTES_MAX
from proto.ids import NodeId

log = logging.getLogger(__name__)

CONNECTIONS_REMEMBERED_MAX = 16  # inbound TCP connections of one peer; one is the rule


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
    ) -> None:
        self._keys = keys
        self._bind = bind
        self._advertise_host = advertise_host
        self._rng = rng or Random()  # noqa: S311  # back-off jitter, nothing secret
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._router: zmq.Socket[bytes] | None = None
        self._reader: FdReader | None = None
        self._zap: ZapHandler | None = None
        self._endpoint = ""
        self._on_frame: OnFrame | None = None
        self._on_link: OnLink | None = None
        self._links: dict[NodeId, PeerLink] = {}
        self._allowed: dict[bytes, NodeId] = {}  # CURVE public key -> node
        self._inbound: dict[NodeId, set[int]] = {}  # descriptors libzmq reads that peer from
        self._dropped: Counter[str] = Counter()

    @property
    def endpoint(self) -> str:
        assert self._endpoint, "start first"
        return self._endpoint

    def dropped(self) -> Mapping[str, int]:
        return dict(self._dropped)

    async def start(self, on_frame: OnFrame, on_link: OnLink | None = None) -> None:
        """Raises TransportError when the address cannot be bound; nothing stays open then."""
        assert self._context is None, "start once"
        self._on_frame, self._on_link = on_frame, on_link
        self._context = new_context()
        self._zap = ZapHandler(self._context, self._admit)
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
        self._reader = FdReader(self._router, self._read_frame)

    async def close(self) -> None:
        """Drops what is queued. Idempotent."""
        for link in self._links.values():
            link.close()
        self._links.clear()
        self._allowed.clear()
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if self._zap is not None:
            self._zap.close()
            self._zap = None
        if self._router is not None:
            self._router.close()
            self._router = None
        if self._context is not None:
            context, self._context = self._context, None
            await asyncio.to_thread(context.term)  # waits for libzmq's I/O thread

    def set_peers(self, peers: Mapping[NodeId, PeerAddress]) -> None:
        assert self._context is not None, "start first"
        for node_id in [n for n in self._links if n not in peers]:
            self._links.pop(node_id).close()
        self._allowed = {address.curve_public: node_id for node_id, address in peers.items()}
        for node_id in [n for n in self._inbound if n not in peers]:
            self._cut_inbound(node_id)
        for node_id, address in peers.items():
            link = self._links.get(node_id)
            if link is not None and link.address == address:
                continue
            if link is not None:
                link.close()
            self._links[node_id] = PeerLink(
                self._context, self._keys, address, partial(self._tell_link, node_id), self._rng
            )

    def send(self, to: NodeId, frame: bytes) -> bool:
        assert len(frame) <= FRAME_BYTES_MAX
        link = self._links.get(to)
        if link is None or not link.send(frame):
            self._dropped["no_link_or_full"] += 1
            return False
        return True

    def _tell_link(self, node_id: NodeId, fact: LinkFact) -> None:
        log.debug("link changed", extra={"node": node_id, "fact": fact})
        if self._on_link is not None:
            self._on_link(node_id, fact)

    def _admit(self, key: bytes, _address: str) -> str | None:
        node_id = self._allowed.get(key)
        if node_id is None:
            self._dropped["key_not_admitted"] += 1
        return node_id

    def _read_frame(self) -> None:
        assert self._router is not None
        assert self._on_frame is not None
        frames = self._router.recv_multipart(zmq.NOBLOCK, copy=False)
        if len(frames) != 2:
            self._dropped["not_one_frame"] += 1
            return
        body = frames[1]
        node_id = NodeId(str(body.get("User-Id")))
        descriptors = self._inbound.setdefault(node_id, set())
        descriptors.add(int(body.get(zmq.SRCFD)))
        if node_id not in self._links:  # admitted once, removed since
            self._dropped["sender_removed"] += 1
            self._cut_inbound(node_id)
            return
        if len(descriptors) > CONNECTIONS_REMEMBERED_MAX:
            descriptors.clear()
        self._on_frame(node_id, body.bytes)

    def _cut_inbound(self, node_id: NodeId) -> None:
        """libzmq cannot close one inbound connection, so the TCP socket below it is shut down. A descriptor
        may have been reused since: what is not a connection of our listener is left alone, and
        another peer's that is hit by that chance dials again within REDIAL_MIN_MS."""
        port = int(self._endpoint.rpartition(":")[2])
        for descriptor in self._inbound.pop(node_id, set()):
            with contextlib.suppress(OSError), sockets.socket(fileno=os.dup(descriptor)) as connection:
                if connection.getsockname()[1] == port:
                    connection.shutdown(sockets.SHUT_RDWR)
