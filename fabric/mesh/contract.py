"""What carries envelopes between nodes. Real: `router_dealer.py`; in memory: `loopback.py`.

ZRE's shape (zeromq/rfc 36): one bound ROUTER to receive, one DEALER for each peer to send. Frames from
one peer arrive in order; a frame may be lost when the peer or its link dies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from proto.ids import NodeId

OnFrame = Callable[[NodeId, bytes], None]  # the sender, proven by its CURVE key; never blocks


@dataclass(frozen=True, slots=True)
class PeerAddress:
    endpoint: str
    curve_public: bytes


class Transport(Protocol):
    @property
    def endpoint(self) -> str:
        """Where peers reach this node, after `start`."""
        ...

    async def start(self, on_frame: OnFrame) -> None: ...

    async def close(self) -> None: ...

    def set_peers(self, peers: Mapping[NodeId, PeerAddress]) -> None:
        """Exactly these may speak to us and be spoken to. Links to others are cut at once."""
        ...

    def send(self, to: NodeId, frame: bytes) -> bool:
        """Hands a frame to the peer's link. False: no such peer or its queue is full (nothing sent)."""
        ...
