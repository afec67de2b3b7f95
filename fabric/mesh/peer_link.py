"""One DEALER to one peer: dials, tells when the link is up or lost, redials while it is pinned.

Theory. A link is up, being dialled, or at rest (no socket). While *pinned* it never rests: each loss is
followed by a probe and another dial, with a pause that grows and is drawn at random, so that the links of
a whole fabric to one dead node drift apart instead of knocking together (defradb #1092). A link that is
not pinned is dialled by `send`, and after a loss rests until it is asked again.
"""

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

REDIAL_MIN_MS = 50  # who was let in a moment ago may be unknown to its new neighbours for so long
NOT_ADMITTED_STEPS = 1  # doublings of the pause when a peer does not know our key yet
REDIAL_MAX_MS = 2_000  # a peer that comes back is linked again this soon
WEDGED_S = 4.0  # a link that is up and takes nothing for so long carries nothing: a beat is due each second

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
        *,
        is_pinned: bool,
        on_wedged: Callable[[], None] = lambda: None,
    ) -> None:
        self._context = context
        self._keys = keys
        self.address = address
        self._on_fact = on_fact
        self._on_wedged = on_wedged
        self._rng = rng
        self._loop = asyncio.get_running_loop()
        self.is_pinned = is_pinned
        self.used_s = self._loop.time()  # when it was last dialled or last took a frame
        self._dials = 0
        self._failures = 0  # dials in a row that brought no link
        self._rests_until_s = 0.0
        self._full_since_s: float | None = None  # it is up and said no since then
        self._is_up = False
        self._is_closed = False
        self._socket: zmq.Socket[bytes] | None = None
        self._monitor: zmq.Socket[bytes] | None = None
        self._reader: FdReader | None = None
        self._recovery: asyncio.Task[None] | None = None
        self._dial()

    def pin(self) -> None:
        self.is_pinned = True
        if self._socket is None and self._recovery is None:
            self._recovery = self._loop.create_task(self._recover())

    def unpin(self) -> None:
        """What is up stays up, until its owner finds it idle."""
        self.is_pinned = False

    def send(self, frame: bytes) -> bool:
        if not self._is_up or self._socket is None:
            self._dial_if_asked_again()
            return False
        try:
            self._socket.send(frame, zmq.NOBLOCK)
        except zmq.Again:
            self._take_note_it_is_full()
            return False
        self._full_since_s = None
        self.used_s = self._loop.time()
        return True

    def close(self) -> None:
        self._is_closed = True
        self._hang_up()
        if self._recovery is not None:
            self._recovery.cancel()
            self._recovery = None

    def _dial_if_asked_again(self) -> None:
        """Only at rest: not while a dial or a recovery is under way, and not sooner than the pause allows."""
        is_at_rest = self._socket is None and self._recovery is None and not self._is_closed
        if is_at_rest and self._loop.time() >= self._rests_until_s:
            self._dial()

    def _dial(self) -> None:
        self.used_s = self._loop.time()
        self._dials += 1
        try:
            self._socket = socket = self._context.socket(zmq.DEALER)
            set_for_dialler(socket, self._keys, self.address.curve_public)
            name = f"inproc://link-monitor-{next(_monitor_numbers)}"
            socket.monitor(name, _EVENTS)
            self._monitor = self._context.socket(zmq.PAIR)
            self._monitor.setsockopt(zmq.LINGER, 0)
            self._monitor.connect(name)
            self._reader = FdReader(self._monitor, self._read_event)
            socket.connect(self.address.endpoint)
        except zmq.ZMQError as error:  # an endpoint libzmq cannot parse; no descriptor left
            log.warning(
                "peer cannot be dialled", extra={"endpoint": self.address.endpoint, "error": str(error)}
            )
            self._lose_soon()

    def _read_event(self) -> None:
        assert self._monitor is not None
        event = parse_monitor_message(self._monitor.recv_multipart(zmq.NOBLOCK))["event"]
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._is_up, self._failures, self._full_since_s = True, 0, None
            self._on_fact(LinkFact.UP)
        elif event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            # its news of us is still under way: a handshake costs both a millisecond
            self._failures += NOT_ADMITTED_STEPS
            self._on_loss()
        else:
            self._on_loss()

    def _take_note_it_is_full(self) -> None:
        """A peer whose process hangs stops reading; a path may die behind a connection that looks alive.
        Either way this link carries nothing, and only a new one can."""
        now = self._loop.time()
        if self._full_since_s is None:
            self._full_since_s = now
        elif now - self._full_since_s > WEDGED_S:
            self._on_wedged()
            log.warning("link takes nothing, dialled again", extra={"endpoint": self.address.endpoint})
            self._lose_soon()

    def _lose_soon(self) -> None:
        """Facts are told by the loop, never inside a call of those who are told."""
        self._is_up = False
        self._loop.call_soon(self._on_loss_of, self._dials)

    def _on_loss_of(self, dial: int) -> None:
        if dial == self._dials:
            self._on_loss()

    def _on_loss(self) -> None:
        """The link is gone, or this dial failed. Find out why; a pinned one is then dialled again."""
        if self._is_closed:
            return
        self._hang_up()
        self._failures += 1
        self._rests_until_s = self._loop.time() + self._pause_s()
        if self._recovery is None:
            self._recovery = self._loop.create_task(self._recover())
        self._on_fact(LinkFact.LOST)

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

    async def _recover(self) -> None:
        """Until somebody accepts at the peer's endpoint, or nobody wants it any more. The first probe goes
        out at once: after a kill it tells within milliseconds that the process is gone."""
        if self._failures > 1 and self.is_pinned:
            await asyncio.sleep(self._pause_s())
        while True:
            fact = await probe(self.address.endpoint)
            if fact is LinkFact.REFUSED or (fact is LinkFact.LOST and self.is_pinned):
                self._on_fact(fact)
            if fact is LinkFact.UP or not self.is_pinned:
                break
            self._failures += 1
            await asyncio.sleep(self._pause_s())
        self._recovery = None
        if self.is_pinned:
            self._dial()

    def _pause_s(self) -> float:
        longest_ms = min(REDIAL_MAX_MS, REDIAL_MIN_MS << min(self._failures, 10))
        return self._rng.uniform(0.5, 1.0) * longest_ms / 1_000
