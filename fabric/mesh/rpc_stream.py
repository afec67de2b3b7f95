"""The reading end of a stream: order, holes and credit."""

from __future__ import annotations

import asyncio
from collections import deque

from fabric.errors import FabricError
from fabric.mesh.errors import PeerLostError
from proto.errors import WireError
from proto.ids import NodeId
from proto.rpc import Reply, StreamChunk, StreamEnd

STREAM_CREDIT = 8  # chunks under way: 2 to 4 MiB, enough to hide a LAN's round trip
_CREDIT_STEP = STREAM_CREDIT // 2  # granted back in steps, so credits cost few frames


class StreamReader:
    """Invariant: chunks queued and not yet credited back never exceed STREAM_CREDIT."""

    def __init__(self, to: NodeId) -> None:
        self.to = to
        self.is_sent = False  # the request; set by the caller
        self._chunks: deque[bytes] = deque()
        self._next_sequence = 0
        self._is_over = False
        self._error: FabricError | None = None
        self._consumed = 0
        self._outstanding = STREAM_CREDIT
        self._changed = asyncio.Event()

    def take(self, message: StreamChunk | StreamEnd | Reply) -> None:
        """Raises WireError for what an honest peer does not send."""
        match message:
            case StreamChunk(sequence=sequence, data=data):
                if sequence != self._next_sequence:
                    self.fail(PeerLostError("a chunk was lost on the way"))
                    return
                if self._outstanding == 0:
                    self.fail(PeerLostError("the peer sent more than it was allowed"))
                    raise WireError("credit_exceeded")
                self._next_sequence += 1
                self._outstanding -= 1
                self._chunks.append(data)
            case StreamEnd(chunks=chunks):
                if chunks != self._next_sequence:
                    self.fail(PeerLostError("the last chunk was lost on the way"))
                    return
                self._is_over = True
            case Reply():
                self.fail(PeerLostError("the peer answered a stream with a reply"))
                raise WireError("not_a_stream")
        self._changed.set()

    def fail(self, error: FabricError) -> None:
        """What arrived before is still delivered; then this is raised."""
        if not self._is_over and self._error is None:
            self._error = error
            self._changed.set()

    async def next(self) -> bytes | None:
        """The next chunk, None at the end. Raises what `fail` was told."""
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self._is_over:
                return None
            self._changed.clear()
            await self._changed.wait()
        self._consumed += 1
        return self._chunks.popleft()

    def take_credit(self) -> int:
        """How many chunks to allow again now, 0 when it is not worth a frame yet."""
        if self._consumed < _CREDIT_STEP or self._is_over or self._error is not None:
            return 0
        granted, self._consumed = self._consumed, 0
        self._outstanding += granted
        return granted
