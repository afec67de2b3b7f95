"""Request and reply between nodes, as callers see it. `rpc.py` does it over any Transport."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Protocol

from proto.codec import Plain
from proto.ids import NodeId

Handler = Callable[[NodeId, Mapping[str, Plain]], Awaitable[Plain]]
StreamHandler = Callable[[NodeId, Mapping[str, Plain]], AsyncIterator[bytes]]


class Rpc(Protocol):
    async def call(self, to: NodeId, method: str, body: Mapping[str, Plain], *, timeout_ms: int) -> Plain:
        """Raises PeerUnreachableError (not done), DeadlineExceededError (unknown), RemoteError (as the
        peer says). Calls to oneself work and skip the wire."""
        ...

    def stream(
        self, to: NodeId, method: str, body: Mapping[str, Plain], *, timeout_ms: int
    ) -> AsyncIterator[bytes]:
        """Chunks in order, flow-controlled by credits; `timeout_ms` is between chunks."""
        ...

    def serve(self, method: str, handler: Handler) -> None: ...

    def unserve(self, method: str) -> None:
        """The method is unknown here from now on; calls under way go on."""
        ...

    def serve_stream(self, method: str, handler: StreamHandler) -> None: ...
