"""Shares one transport among conversations, by the first word of the envelope's kind.

Here bytes from outside become envelopes; what does not is dropped and counted by reason.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping

from fabric.mesh.contract import LinkFact, PeerAddress, Transport
from proto.codec import Plain
from proto.envelope import Envelope, Message, decode, encode, encode_body, fabric_tag
from proto.errors import WireError
from proto.ids import FabricId, NodeId

log = logging.getLogger(__name__)

OnEnvelope = Callable[[NodeId, Envelope], None]  # may raise WireError: counted, never fatal
OnLinkFact = Callable[[NodeId, LinkFact], None]


class Switchboard:
    """Register every conversation with `route` before `start`: "member" takes all "member.*" kinds."""

    def __init__(self, transport: Transport, fabric_id: FabricId) -> None:
        self._transport = transport
        self._tag = fabric_tag(fabric_id)
        self._routes: dict[str, OnEnvelope] = {}
        self._link_listeners: list[OnLinkFact] = []
        self._pinned: frozenset[NodeId] = frozenset()
        self._held: Counter[NodeId] = Counter()
        self._dropped: Counter[str] = Counter()
        self._sent_frames = self._sent_bytes = self._received_frames = self._received_bytes = 0

    @property
    def endpoint(self) -> str:
        return self._transport.endpoint

    def route(self, conversation: str, on_envelope: OnEnvelope) -> None:
        assert conversation not in self._routes
        self._routes[conversation] = on_envelope

    def on_link(self, listener: OnLinkFact) -> None:
        self._link_listeners.append(listener)

    async def start(self) -> None:
        """Raises TransportError."""
        await self._transport.start(self._on_frame, self._tell_link)

    async def close(self) -> None:
        await self._transport.close()

    # -- who, and by which links: see `contract.Transport`

    def admit(self, node_id: NodeId, address: PeerAddress) -> None:
        self._transport.admit(node_id, address)

    def expel(self, node_id: NodeId) -> None:
        self._transport.expel(node_id)

    def pin(self, node_ids: frozenset[NodeId]) -> None:
        """The membership's wish. What conversations `hold` stays pinned beside it."""
        self._pinned = node_ids
        self._transport.pin(self._pinned.union(self._held))

    def hold(self, node_id: NodeId) -> None:
        """Keeps the link to that node dialled until `release`, as often as it was held: a conversation is
        under way on it, and its silence is no idleness."""
        self._held[node_id] += 1
        if self._held[node_id] == 1 and node_id not in self._pinned:
            self._transport.pin(self._pinned.union(self._held))

    def release(self, node_id: NodeId) -> None:
        assert self._held[node_id] > 0, "release what was held"
        self._held[node_id] -= 1
        if self._held[node_id] == 0:
            del self._held[node_id]
            if node_id not in self._pinned:
                self._transport.pin(self._pinned.union(self._held))

    @property
    def link_count(self) -> int:
        return self._transport.link_count

    # -- frames

    def encode(self, message: Message) -> bytes:
        """The frame of a message, for `send_frame` to several. Raises WireError `frame_too_long`."""
        return encode(message, self._tag)

    def send_frame(self, to: NodeId, frame: bytes) -> bool:
        """Like `send`, of what `encode` made."""
        if not self._transport.send(to, frame):
            return False
        self._sent_frames += 1
        self._sent_bytes += len(frame)
        return True

    def send(self, to: NodeId, message: Message) -> bool:
        """False: no link, or its queue is full; nothing was sent. Raises WireError `frame_too_long`."""
        return self.send_frame(to, encode(message, self._tag))

    def send_body(self, to: NodeId, kind: str, body: Mapping[str, Plain]) -> bool:
        """Like `send`, of a message whose body its conversation has made."""
        return self.send_frame(to, encode_body(kind, body, self._tag))

    def traffic(self) -> Mapping[str, int]:
        """Frames handed to links and taken from them since the start, and their bytes before encryption."""
        return {
            "sent_frames": self._sent_frames,
            "sent_bytes": self._sent_bytes,
            "received_frames": self._received_frames,
            "received_bytes": self._received_bytes,
        }

    def dropped(self) -> Mapping[str, int]:
        """What was thrown away since the start, by reason: the transport's counts and ours."""
        return dict(self._dropped + Counter(self._transport.dropped()))

    def _on_frame(self, sender: NodeId, frame: bytes) -> None:
        self._received_frames += 1
        self._received_bytes += len(frame)
        try:
            envelope = decode(frame, self._tag)
            route = self._routes.get(envelope.kind.partition(".")[0])
            if route is None:
                raise WireError("unknown_kind")
            route(sender, envelope)
        except WireError as error:
            self._dropped[error.reason] += 1
            log.debug("frame dropped", extra={"node": sender, "reason": error.reason})

    def _tell_link(self, node_id: NodeId, fact: LinkFact) -> None:
        for listener in self._link_listeners:
            listener(node_id, fact)
