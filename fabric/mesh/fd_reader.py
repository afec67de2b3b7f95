"""Drains a ZeroMQ socket from the asyncio loop through its FD, in batches.

zmq.asyncio costs four times the processor for each message (design/gossip.md 3, measured). The FD is
edge-triggered: it tells that *something* changed, so a reader must drain until EAGAIN, and must look
again after it used the socket otherwise (`poke`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import zmq

BATCH_FRAMES_MAX = 256  # then the loop gets a turn,
BATCH_S = 0.02  # and no later than this: one member's costly frames must not starve the others


class FdReader:
    """`on_ready` reads one message without blocking and raises zmq.Again when there is none."""

    def __init__(self, socket: zmq.Socket[bytes], on_ready: Callable[[], None]) -> None:
        self._socket = socket
        self._on_ready = on_ready
        self._loop = asyncio.get_running_loop()
        self._fd = int(socket.getsockopt(zmq.FD))
        self._is_open = True
        self._is_scheduled = False
        self._loop.add_reader(self._fd, self._drain)
        self.poke()

    def poke(self) -> None:
        """Looks again soon, whether or not the FD says so."""
        if self._is_open and not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._drain_scheduled)

    def close(self) -> None:
        """Must come before the socket is closed. Idempotent."""
        if self._is_open:
            self._is_open = False
            self._loop.remove_reader(self._fd)

    def _drain_scheduled(self) -> None:
        self._is_scheduled = False
        self._drain()

    def _drain(self) -> None:
        deadline = self._loop.time() + BATCH_S
        for _ in range(BATCH_FRAMES_MAX):
            if not self._is_open:
                return
            if self._loop.time() > deadline:
                break
            try:
                if not int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
                    return  # cheaper than an exception, and this is how every drain ends
                self._on_ready()
            except zmq.Again:
                return
            except BaseException:
                self.poke()  # the FD will not fire again for what is already queued
                raise
        self.poke()
