"""The connections others made to us: whose they are, and how to cut them.

libzmq cannot close one inbound connection, so the TCP socket below it is shut down. Which descriptor that
is comes with the frames of a connection; one that never sent a frame is not known here, and its first
frame is dropped because its key speaks for nobody any more.
"""

from __future__ import annotations

import contextlib
import os
import socket as sockets


class InboundConnections:
    """Invariant: one entry for each descriptor at most, hence no more than the process may have open."""

    def __init__(self) -> None:
        self._speaker_of: dict[int, str] = {}  # descriptor -> the ZAP User-Id it proved last
        self._descriptor_of: dict[bytes, int] = {}  # routing id -> descriptor
        self._routing_of: dict[int, bytes] = {}

    def is_known(self, routing_id: bytes) -> bool:
        """Nothing is proven by a routing id, a peer may choose its own; it only spares looking again."""
        return routing_id in self._descriptor_of

    def add(self, routing_id: bytes, descriptor: int, speaker: str) -> None:
        """A descriptor that was used by another connection before belongs to this one now."""
        before = self._routing_of.get(descriptor)
        if before is not None:
            self._descriptor_of.pop(before, None)
        self._routing_of[descriptor] = routing_id
        self._descriptor_of[routing_id] = descriptor
        self._speaker_of[descriptor] = speaker

    def cut(self, speaker: str, port: int) -> None:
        """All connections of that speaker to our listener's `port`. A descriptor may have been reused since:
        what is not a connection of our listener is left alone, and another peer's that is hit by
        that chance dials again within REDIAL_MIN_MS."""
        for descriptor in [d for d, owner in self._speaker_of.items() if owner == speaker]:
            del self._speaker_of[descriptor]
            self._descriptor_of.pop(self._routing_of.pop(descriptor), None)
            with contextlib.suppress(OSError), sockets.socket(fileno=os.dup(descriptor)) as connection:
                if connection.getsockname()[1] == port:
                    connection.shutdown(sockets.SHUT_RDWR)
