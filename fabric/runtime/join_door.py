"""The join door: a socket of its own where any key may knock, with a token. Bounded and rate-limited.

The door is the only place where an unknown machine is heard at all; it understands two questions: may I
join, and am I still a member?
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable

import zmq

from fabric.errors import FabricError
from fabric.mesh.curve import CurveKeyPair
from fabric.mesh.errors import TransportError
from fabric.mesh.fd_reader import FdReader
from fabric.mesh.zap import ZapHandler
from fabric.mesh.zmq_options import new_context, set_for_listener
from fabric.runtime.clock import Clock
from proto.errors import Outcome, WireError
from proto.join import (
    REQUEST_BYTES_MAX,
    JoinRefusal,
    JoinReply,
    JoinRequest,
    StandingReply,
    StandingRequest,
    decode_request,
    encode_reply,
)

log = logging.getLogger(__name__)

REQUESTS_PER_S_MAX = 200  # a rack joins at once; a guesser of 256-bit secrets gains nothing
IN_FLIGHT_MAX = 256  # above what comes in one second: who is dropped asks again 5 s later
ANSWER_TIMEOUT_S = 20.0

Admit = Callable[[JoinRequest], Awaitable[JoinReply]]
Stand = Callable[[StandingRequest, bytes], Awaitable[StandingReply]]


class DoorServer:
    """Listens once started; `admit` raises a FabricError to refuse, and so does `stand`, which is also given
    the CURVE key that the connection proves."""

    def __init__(
        self, keys: CurveKeyPair, *, bind: str, admit: Admit, clock: Clock, stand: Stand | None = None
    ) -> None:
        self._keys = keys
        self._bind = bind
        self._admit = admit
        self._stand = stand
        self._clock = clock
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._router: zmq.Socket[bytes] | None = None
        self._reader: FdReader | None = None
        self._zap: ZapHandler | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._second, self._this_second = 0, 0

    async def start(self) -> str:
        """Returns the endpoint it listens on. Raises TransportError."""
        self._context = new_context()
        self._zap = ZapHandler(self._context, lambda key, address: key.hex())
        self._router = self._context.socket(zmq.ROUTER)
        set_for_listener(self._router, self._keys, self._bind)
        self._router.setsockopt(zmq.MAXMSGSIZE, REQUEST_BYTES_MAX)
        try:
            self._router.bind(self._bind)
        except zmq.ZMQError as error:
            await self.close()
            why = os.strerror(error.errno or 0)
            raise TransportError(f"mesh.door_port: cannot listen on {self._bind}: {why}") from error
        self._reader = FdReader(self._router, self._read_one)
        return bytes(self._router.getsockopt(zmq.LAST_ENDPOINT)).rstrip(b"\0").decode()

    async def close(self) -> None:
        """Ends what is under way; who asked hears nothing, and asking again is safe. Idempotent."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._zap is not None:
            self._zap.close()
            self._zap = None
        if self._router is not None:
            self._router.close()
            self._router = None
        if self._context is not None:
            context, self._context = self._context, None
            await asyncio.to_thread(context.term)

    def _read_one(self) -> None:
        assert self._router is not None
        frames = self._router.recv_multipart(zmq.NOBLOCK, copy=False)
        if len(frames) != 2 or not self._may_pass():
            return
        key = str(frames[1].get("User-Id"))
        task = asyncio.get_running_loop().create_task(self._answer(frames[0].bytes, key, frames[1].bytes))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _may_pass(self) -> bool:
        second = self._clock.monotonic_ms() // 1000
        if second != self._second:
            self._second, self._this_second = second, 0
        self._this_second += 1
        return self._this_second <= REQUESTS_PER_S_MAX and len(self._tasks) < IN_FLIGHT_MAX

    async def _answer(self, identity: bytes, key: str, frame: bytes) -> None:
        reply = await self._decide(key, frame)
        if self._router is None:
            return
        try:
            self._router.send_multipart([identity, encode_reply(reply)], zmq.NOBLOCK)
        except zmq.ZMQError:  # the one who asked has gone
            log.debug("join answer not sent")
        if self._reader is not None:
            self._reader.poke()

    async def _decide(self, key: str, frame: bytes) -> JoinReply | StandingReply | JoinRefusal:
        try:
            request = decode_request(frame)
            if isinstance(request, StandingRequest):
                return await self._standing(request, key)
            if request.curve_public.hex() != key:  # nobody asks for another's key
                raise WireError("bad_field", "curve_public is not the key of this connection")
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                return await self._admit(request)
        except FabricError as error:
            log.warning("join refused", extra={"reason": error.code, "detail": str(error)})
            return JoinRefusal(code=error.code[:128], message=str(error)[:2_000], outcome=error.outcome)
        except TimeoutError:
            return JoinRefusal(
                code="fabric.join.timeout", message="the conductor was too slow", outcome=Outcome.UNKNOWN
            )
        except Exception:
            log.exception("join failed")
            return JoinRefusal(code="fabric.internal", message="internal error", outcome=Outcome.UNKNOWN)

    async def _standing(self, request: StandingRequest, key: str) -> StandingReply:
        if self._stand is None:
            raise WireError("unknown_kind")
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            return await self._stand(request, bytes.fromhex(key))
