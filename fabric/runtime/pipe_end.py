"""One end of a pipe: as its user has it, and what the two streams under it need. Bounded both ways."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

CHUNK_BYTES = 256 * 1024
CHUNKS_MAX = 4  # written and not under way yet; arrived and not read yet


class PipeEnd:
    """`read`, `write`, `write_eof` and `close` are the user's, and what `drivers.contract.Pipe` promises."""

    def __init__(self) -> None:
        self.is_taken = False  # whether the other end has begun to read
        self._written: deque[bytes] = deque()
        self._arrived: deque[bytes] = deque()
        self._has_written_all = self._has_arrived_all = False
        self._is_closed = self._is_broken = self._is_deaf = False
        self._waiting: set[asyncio.Event] = set()

    async def read(self) -> bytes:
        await self._until(lambda: bool(self._arrived) or self._has_arrived_all or self._is_closed)
        if not self._arrived:
            if not self._has_arrived_all:
                raise ConnectionError("the pipe is closed")
            return b""
        data = self._arrived.popleft()
        self._tell()
        return data

    async def write(self, data: bytes) -> None:
        for start in range(0, len(data), CHUNK_BYTES):
            await self._until(lambda: len(self._written) < CHUNKS_MAX or self._is_closed or self._is_deaf)
            if self._is_closed or self._is_deaf or self._has_written_all:
                raise ConnectionError("the pipe is closed")
            self._written.append(data[start : start + CHUNK_BYTES])
            self._tell()

    async def write_eof(self) -> None:
        self._has_written_all = True
        self._tell()

    def close(self) -> None:
        self._is_closed = True
        if not self._has_written_all:
            self._is_broken = True
        self._tell()

    # -- for the streams

    async def take_written(self) -> bytes:
        """The next chunk for the other end, empty at the end. Raises ConnectionError: broken."""
        await self._until(lambda: bool(self._written) or self._has_written_all)
        if not self._written:
            return b""
        data = self._written.popleft()
        self._tell()
        return data

    async def put_arrived(self, data: bytes) -> bool:
        """Waits until there is room; no data is the end. False: nobody reads any more. Raises
        ConnectionError: broken."""
        await self._until(lambda: len(self._arrived) < CHUNKS_MAX or self._is_closed)
        if not data:
            self._has_arrived_all = True
        elif self._is_closed:
            return False
        else:
            self._arrived.append(data)
        self._tell()
        return True

    async def wait_closed(self) -> None:
        """Raises ConnectionError: broken."""
        await self._until(lambda: self._is_closed)

    async def wait_taken(self) -> None:
        """Until all that was written is under way. Raises ConnectionError: broken."""
        await self._until(lambda: not self._written or self._is_deaf)

    def deafen(self) -> None:
        """The other end reads no more: writing fails from now on."""
        self._is_deaf = True
        self._tell()

    def fail(self) -> None:
        """Broken: whoever waits or comes hears a ConnectionError, but what arrived whole is still read."""
        self._is_broken = self._is_closed = True
        self._tell()

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            if self._is_broken:
                raise ConnectionError("the pipe is broken")
            event = asyncio.Event()
            self._waiting.add(event)
            try:
                await event.wait()
            finally:
                self._waiting.discard(event)

    def _tell(self) -> None:
        for event in self._waiting:
            event.set()
