"""What carries envelopes between nodes. Real: `router_dealer.py`; in memory: `loopback.py`.

ZRE's shape (zeromq/rfc 36): one bound ROUTER to receive, one DEALER for each peer to send. Frames from
one peer arrive in order; a frame may be lost when the peer or its link dies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from proto.ids import NodeId

OnFrame = Callable[[NodeId, bytes], None]  # the sender, proven by its CURVE key; never blocks


class LinkFact(StrEnum):
    """What the transport itself knows of our link to a peer (design/gossip.md 3, last table)."""

    UP = "up"  # handshake done: frames can be sent
    REFUSED = "refused"  # the peer's machine answers that nobody listens: the process is gone
    LOST = "lost"  # broken or not to be made; why is not known


OnLink = Callable[[NodeId, LinkFact], None]  # never blocks; LOST and REFUSED repeat at each redial


@dataclass(frozen=True, slots=True)
class PeerAddress:
    endpoint: str
    curve_public: bytes


class Transport(Protocol):
    @property
    def endpoint(self) -> str:
        """Where peers reach this node, after `start`."""
        ...

    async def start(self, on_frame: OnFrame, on_link: OnLink | None = None) -> None: ...

    async def close(self) -> None: ...

    def set_peers(self, peers: Mapping[NodeId, PeerAddress]) -> None:
        """Exactly these may speak to us and be spoken to. Links to others are cut at once."""
        ...

    def dropped(self) -> Mapping[str, int]:
        """Frames and connections refused since `start`, by reason."""
        ...

    def send(self, to: NodeId, frame: bytes) -> bool:
        """Hands a frame to the peer's link. False: no such peer or its queue is full (nothing sent)."""
        ...
