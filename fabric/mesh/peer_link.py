"""One DEALER to one peer: dials, tells when the link is up or lost, redials with back-off."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from random import Random

import zmq
from zmq.utils.monitor import parse_monitor_message

from fabric.mesh.contract import LinkFact, PeerAddress
from fabric.mesh.curve import CurveKeyPair
from fabric.mesh.fd_reader import FdReader
from fabric.mesh.probe import probe
from fabric.mesh.zmq_options import set_for_dialler

log = logging.getLogger(__name__)

REDIAL_MIN_MS = 100
REDIAL_MAX_MS = 2_000  # a peer that comes back is linked again this soon

_EVENTS = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CLOSED  # connect failed
)
_monitor_numbers = itertools.count(1)  # libzmq's own names repeat when a socket number is used again


class PeerLink:
    """Dialling starts at once. After `close` nothing is told any more."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        keys: CurveKeyPair,
        address: PeerAddress,
        on_fact: Callable[[LinkFact], None],
        rng: Random,
    ) -> None:
        self._context = context
        self._keys = keys
        self.address = address
        self._on_fact = on_fact
        self._rng = rng
        self._failures = 0  # dials in a row that brought no link
        self._is_up = False
        self._is_closed = False
        self._socket: zmq.Socket[bytes] | None = None
        self._monitor: zmq.Socket[bytes] | None = None
        self._reader: FdReader | None = None
        self._redial: asyncio.Task[None] | None = None
        self._dial()

    def send(self, frame: bytes) -> bool:
        if not self._is_up or self._socket is None:
            return False
        try:
            self._socket.send(frame, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def close(self) -> None:
        self._is_closed = True
        self._hang_up()
        if self._redial is not None:
            self._redial.cancel()
            self._redial = None

    def _dial(self) -> None:
        self._socket = socket = self._context.socket(zmq.DEALER)
        set_for_dialler(socket, self._keys, self.address.curve_public)
        name = f"inproc://link-monitor-{next(_monitor_numbers)}"
        socket.monitor(name, _EVENTS)
        self._monitor = self._context.socket(zmq.PAIR)
        self._monitor.setsockopt(zmq.LINGER, 0)
        self._monitor.connect(name)
        self._reader = FdReader(self._monitor, self._read_event)
        try:
            socket.connect(self.address.endpoint)
        except zmq.ZMQError as error:  # an endpoint libzmq cannot parse
            log.warning(
                "peer cannot be dialled", extra={"endpoint": self.address.endpoint, "error": str(error)}
            )
            self._on_loss()

    def _read_event(self) -> None:
        assert self._monitor is not None
        event = parse_monitor_message(self._monitor.recv_multipart(zmq.NOBLOCK))["event"]
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._is_up, self._failures = True, 0
            self._on_fact(LinkFact.UP)
        else:
            self._on_loss()

    def _on_loss(self) -> None:
        """The link is gone, or this dial failed. Find out why, then dial again."""
        self._hang_up()
        self._failures += 1
        self._on_fact(LinkFact.LOST)
        if not self._is_closed and self._redial is None:
            self._redial = asyncio.get_running_loop().create_task(self._probe_and_redial())

    def _hang_up(self) -> None:
        self._is_up = False
        if self._reader is not None:
            self._reader.close()
        if self._socket is not None:
            self._socket.disable_monitor()
            self._socket.close()
        if self._monitor is not None:
            self._monitor.close()
        self._socket = self._monitor = self._reader = None

    async def _probe_and_redial(self) -> None:
        """Until somebody accepts at the peer's endpoint. The first probe goes out at once: after a
        kill it tells within milliseconds that the process is gone."""
        if self._failures > 1:
            await asyncio.sleep(self._pause_s())
        while True:
            fact = await probe(self.address.endpoint)
            if fact is LinkFact.UP:
                break
            self._on_fact(fact)
            await asyncio.sleep(self._pause_s())
            self._failures += 1
        self._redial = None
        self._dial()

    def _pause_s(self) -> float:
        longest_ms = min(REDIAL_MAX_MS, REDIAL_MIN_MS << min(self._failures, 10))
        return self._rng.uniform(0.5, 1.0) * longest_ms / 1_000
