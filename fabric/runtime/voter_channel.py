"""What an agent and its voter's process say to each other, over a socket pair that nobody else has.

Theory. A message is a length and a msgpack array: what it is, a number, a kind, a body. Words (`tell`) arrive
in the order they were said, and so do answers among them, which is what makes a write that is answered
visible in what was told before. Questions (`ask`) are tasks at the other end, and stop there when whoever
asked has gone. There is one reader at each end, and no queue without a bound: an end that takes nothing for
long is not waited for.

Both ends are of one installation and one user, so this is no wire of `proto/SPEC.md`; the version each says
first guards against a package that was exchanged under a running agent.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import cast

from fabric.errors import FabricError, Outcome, RemoteError
from fabric.mesh.rpc_errors import remote_error_of
from proto.codec import CONTAINERS_MAX, FRAME_BYTES_MAX, Plain, pack, unpack
from proto.errors import WireError

log = logging.getLogger(__name__)

LENGTH_BYTES = 4
MESSAGE_BYTES_MAX = 4 * FRAME_BYTES_MAX  # an entry with its result, and what is around them
BACKLOG_BYTES_MAX = 64 << 20  # said, and not taken by the other end
ASKED_MAX = 10_000  # more than a voter takes at once
END_S = 5.0

Body = Mapping[str, Plain]
Serve = Callable[[str, Body], Awaitable[Plain]]
Hear = Callable[[str, Body], None]

_TELL, _ASK, _ANSWER, _ERROR, _CANCEL = range(5)


class ChannelClosedError(FabricError):
    """The other end of the channel is gone, or takes nothing. What was asked may have been done."""

    code = "fabric.voters.channel_closed"
    outcome = Outcome.UNKNOWN


class ChannelBusyError(FabricError):
    """Too much waits for an answer already: this was not asked."""

    code = "fabric.voters.channel_busy"
    outcome = Outcome.NOT_DONE


class VoterChannel:
    """`run` beside everything else; it returns when the other end has gone."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        serve: Serve,
        hear: Hear,
    ) -> None:
        """`hear` is called on the loop, in order; `serve` is a task for each question. Both are told kind and
        body."""
        self._reader = reader
        self._writer = writer
        self._serve = serve
        self._hear = hear
        self._next = 0
        self._asked: dict[int, asyncio.Future[Plain]] = {}
        self._served: dict[int, asyncio.Task[None]] = {}
        self._closed = False
        self.heard = 0  # messages, ever: whoever wants to know whether the other end lives

    @property
    def is_closed(self) -> bool:
        return self._closed

    def tell(self, kind: str, body: Body) -> None:
        """Nothing, where the other end has gone. Raises WireError for what no message can hold."""
        self._send(_TELL, 0, kind, body)

    async def ask(self, kind: str, body: Body) -> Plain:
        """Raises RemoteError, as the other end says; ChannelClosedError, ChannelBusyError, WireError."""
        if len(self._asked) >= ASKED_MAX:
            raise ChannelBusyError(f"{ASKED_MAX} questions wait for an answer already")
        number = self._next = self._next + 1
        answer: asyncio.Future[Plain] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        try:
            self._send(_ASK, number, kind, body)
            if self._closed:
                raise ChannelClosedError("the other end has gone")
            return await answer
        except asyncio.CancelledError:
            self._send(_CANCEL, number, "", {})
            raise
        finally:
            del self._asked[number]

    async def run(self) -> None:
        """Until the other end has gone, or says what cannot be understood, or takes nothing any more."""
        try:
            while True:
                length = int.from_bytes(await self._reader.readexactly(LENGTH_BYTES), "big")
                if length > MESSAGE_BYTES_MAX:
                    raise WireError("frame_too_long", f"{length} bytes")
                self._take(await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            await self._end()

    async def close(self) -> None:
        """What was told is on its way. Twice is the same as once."""
        self._shut()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(END_S):
                await self._writer.wait_closed()

    # ---- out

    def _send(self, what: int, number: int, kind: str, body: Body) -> None:
        if self._closed:
            return
        message = pack([what, number, kind, body], limit=MESSAGE_BYTES_MAX)
        self._writer.write(len(message).to_bytes(LENGTH_BYTES, "big") + message)
        transport = self._writer.transport
        if transport.get_write_buffer_size() > BACKLOG_BYTES_MAX:
            log.error("the other end of the voter's channel takes nothing", extra={"kind": kind})
            transport.abort()
            self._shut()

    # ---- in

    def _take(self, message: bytes) -> None:
        """Raises WireError."""
        value = unpack(message, limit=MESSAGE_BYTES_MAX, containers_max=4 * CONTAINERS_MAX)
        if not isinstance(value, list) or len(value) != 4:
            raise WireError("malformed")
        what, number, kind, body = value
        if (
            type(what) is not int
            or type(number) is not int
            or not isinstance(kind, str)
            or not isinstance(body, dict)
        ):
            raise WireError("malformed")
        self.heard += 1
        if what == _TELL:
            self._hear(kind, body)
        elif what == _ASK:
            task = asyncio.create_task(self._answer(number, kind, body), name=f"voter channel {kind}")
            self._served[number] = task
            task.add_done_callback(lambda _: self._served.pop(number, None))
        elif what in (_ANSWER, _ERROR):
            self._answered(what, number, body)
        elif what == _CANCEL:
            if (served := self._served.get(number)) is not None:
                served.cancel()
        else:
            raise WireError("malformed")

    async def _answer(self, number: int, kind: str, body: Body) -> None:
        try:
            value = await self._serve(kind, body)
        except Exception as error:  # as at the top of every handler: told to who asked
            remote = remote_error_of(error, kind)
            told = {"code": remote.remote_code, "message": remote.message, "outcome": str(remote.outcome)}
            self._send(_ERROR, number, "", cast(Body, told))
        else:
            self._send(_ANSWER, number, "", {"value": value})

    def _answered(self, what: int, number: int, body: Body) -> None:
        answer = self._asked.get(number)
        if answer is None or answer.done():
            return  # nobody waits any more
        if what == _ANSWER:
            answer.set_result(body.get("value"))
        else:
            outcome = Outcome(str(body.get("outcome")))
            answer.set_exception(RemoteError(str(body.get("code")), str(body.get("message")), outcome))

    # ---- the end

    def _shut(self) -> None:
        self._closed = True
        self._writer.close()
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(ChannelClosedError("the other end has gone before it answered"))

    async def _end(self) -> None:
        self._shut()
        for task in tuple(self._served.values()):
            task.cancel()
        await asyncio.gather(*self._served.values(), return_exceptions=True)
