"""Shares one transport among conversations, by the first word of the envelope's kind.

Here bytes from outside become envelopes; what does not is dropped and counted by reason.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping

from fabric.mesh.contract import LinkFact, PeerAddress, Transport
from proto.envelope import Envelope, Message, decode, encode, fabric_tag
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
        self._dropped: Counter[str] = Counter()

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

    def set_peers(self, peers: Mapping[NodeId, PeerAddress]) -> None:
        self._transport.set_peers(peers)

    def send(self, to: NodeId, message: Message) -> bool:
        """False: no link, or its queue is full; nothing was sent. Raises WireError `frame_too_long`."""
        return self._transport.send(to, encode(message, self._tag))

    def dropped(self) -> Mapping[str, int]:
        """What was thrown away since the start, by reason: the transport's counts and ours."""
        return dict(self._dropped + Counter(self._transport.dropped()))

    def _on_frame(self, sender: NodeId, frame: bytes) -> None:
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
