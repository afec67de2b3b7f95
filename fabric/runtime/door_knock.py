"""One question at one join door, over a CURVE connection of its own, by a node that is no member yet."""

from __future__ import annotations

import asyncio
import contextlib
from enum import StrEnum

import zmq
from zmq.utils.monitor import parse_monitor_message

from fabric.mesh.curve import CurveKeyPair
from fabric.mesh.fd_reader import FdReader
from fabric.mesh.handshake import HANDSHAKE_ENDS
from fabric.mesh.zmq_options import new_context, set_for_dialler
from proto.join import REPLY_BYTES_MAX

LINK_TIMEOUT_S = 5.0  # for one door to prove its key
ANSWER_TIMEOUT_S = 25.0  # of one door that did; above the door's own limit
ASK_AGAIN_S = 5.0
MONITOR_ENDPOINT = "inproc://door-link"  # in a context of its own
_LINK_EVENTS = zmq.EVENT_CONNECTED | HANDSHAKE_ENDS


class NoAnswer(StrEnum):
    """How far a knock came. The question leaves only when the door has proven its key, so but for UNANSWERED
    nothing was asked and nothing can have been done."""

    UNREACHED = "unreached"  # no connection, or nobody spoke over it in time
    OTHER_KEY = "other_key"  # somebody accepts there and cannot prove the key we were given
    UNANSWERED = "unanswered"  # the door was asked; whether it did anything is unknown


async def knock(address: str, keys: CurveKeyPair, door_public: bytes, frame: bytes) -> bytes | NoAnswer:
    """One question, one answer. The question is asked again meanwhile: a door may drop one under load, and
    answers the same node alike."""
    context = new_context()
    socket, monitor = context.socket(zmq.DEALER), context.socket(zmq.PAIR)
    link = _Link()

    def read() -> None:
        link.on_answer(socket.recv(zmq.NOBLOCK))

    def read_event() -> None:
        link.on_event(parse_monitor_message(monitor.recv_multipart(zmq.NOBLOCK))["event"])

    set_for_dialler(socket, keys, door_public)
    socket.setsockopt(zmq.MAXMSGSIZE, REPLY_BYTES_MAX)
    monitor.setsockopt(zmq.LINGER, 0)
    socket.monitor(MONITOR_ENDPOINT, _LINK_EVENTS)
    monitor.connect(MONITOR_ENDPOINT)
    readers = [FdReader(socket, read), FdReader(monitor, read_event)]
    try:
        socket.connect(address)
        async with asyncio.timeout(LINK_TIMEOUT_S):
            reached = await link.reached
        if reached is not None:
            return reached
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            while not link.answer.done():
                with contextlib.suppress(zmq.Again):
                    socket.send(frame, zmq.NOBLOCK)
                readers[0].poke()
                await asyncio.wait((link.answer,), timeout=ASK_AGAIN_S)
            return link.answer.result()
    except (TimeoutError, zmq.ZMQError):
        return NoAnswer.UNANSWERED if link.is_proven else NoAnswer.UNREACHED
    finally:
        for reader in readers:
            reader.close()
        socket.disable_monitor()
        socket.close()
        monitor.close()
        await asyncio.to_thread(context.term)


class _Link:
    """What libzmq tells of one connection, as two promises. Neither ever holds an exception: the caller may
    have gone by the time, and asyncio would complain about one that nobody looked at."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.reached: asyncio.Future[NoAnswer | None] = loop.create_future()  # None: the door proved its key
        self.answer: asyncio.Future[bytes | NoAnswer] = loop.create_future()
        self._is_connected = False

    @property
    def is_proven(self) -> bool:
        return self.reached.done() and not self.reached.cancelled() and self.reached.result() is None

    def on_answer(self, data: bytes) -> None:
        if not self.answer.done():
            self.answer.set_result(data)

    def on_event(self, event: int) -> None:
        if event == zmq.EVENT_CONNECTED:
            self._is_connected = True
        elif not self.reached.done():
            why = NoAnswer.OTHER_KEY if self._is_connected else NoAnswer.UNREACHED
            self.reached.set_result(None if event == zmq.EVENT_HANDSHAKE_SUCCEEDED else why)
        elif not self.answer.done():  # it hung up
            self.answer.set_result(NoAnswer.UNANSWERED)
