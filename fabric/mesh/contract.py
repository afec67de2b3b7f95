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

    def admit(self, node_id: NodeId, address: PeerAddress) -> None:
        """That node may speak to us under that key, and is dialled there. Replaces what was said before:
        links under another key or to another place are cut, without a word to `on_link` (a pinned one is
        dialled again and told when it is up). Costs O(1): called once for each of thousands."""
        ...

    def expel(self, node_id: NodeId) -> None:
        """That node may neither speak to us nor be spoken to. Its links and connections are cut at once."""
        ...

    def pin(self, node_ids: frozenset[NodeId]) -> None:
        """Keeps a link dialled, and redialled with back-off, to exactly these (admitted) nodes; one that is
        admitted later is dialled then. A link that is no longer pinned is closed when it has been idle for
        a while (10 s), which `on_link` is not told: it says nothing about the peer."""
        ...

    @property
    def link_count(self) -> int:
        """Links dialled now: up, being dialled, or waiting to be redialled."""
        ...

    def dropped(self) -> Mapping[str, int]:
        """Frames and connections refused since `start`, by reason."""
        ...

    def send(self, to: NodeId, frame: bytes) -> bool:
        """Hands a frame to the peer's link. False: nothing was sent, for the peer is not admitted, its
        queue is full, or there is no link yet. In the last case the link is being dialled (unless it failed
        a moment ago), and `on_link` will tell: UP, or LOST, and REFUSED after it when that is why. A link
        that is not pinned is dialled once and, when that failed, not again before the next `send`."""
        ...
