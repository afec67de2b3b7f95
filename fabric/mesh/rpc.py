"""Request and reply over any transport: `rpc_contract.Rpc`, both sides.

Theory. A call is a task on each side and a number between them. Numbers start at a random place at each
start, so an answer to a former life finds nobody. The caller's deadline travels as time left; the
serving side stops there too. What cannot be handed to a link is retried until a link exists or the
time is over: before the request left, failure is certain (NOT_DONE); after, it is not (UNKNOWN).

Both sides hold their link to the other while a call or stream is under way: a link dialled on demand is
closed when idle, and with it would go the news that the peer's process died, and what is queued for it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass

from fabric.errors import DeadlineExceededError, PeerUnreachableError, RemoteError
from fabric.mesh.contract import LinkFact
from fabric.mesh.errors import MeshBusyError, PeerLostError
from fabric.mesh.rpc_contract import Handler, StreamHandler
from fabric.mesh.rpc_errors import remote_error_of
from fabric.mesh.rpc_send import send_until
from fabric.mesh.rpc_serve import RpcServer, chunked
from fabric.mesh.rpc_stream import STREAM_CREDIT, StreamReader
from fabric.mesh.switchboard import Switchboard
from proto.codec import Plain
from proto.envelope import Envelope, parse
from proto.errors import WireError
from proto.ids import NodeId
from proto.rpc import (
    KINDS,
    TIMEOUT_MS_MAX,
    Cancel,
    ErrorReply,
    Reply,
    Request,
    RpcMessage,
    StreamChunk,
    StreamCredit,
    StreamEnd,
)

CALLS_MAX = 1_024  # of this node, under way at once
LINK_WAIT_MS = 2_000  # how long a request may wait for a link; covers one redial


@dataclass(slots=True, eq=False)
class _Call:
    """A call that waits for its one answer."""

    to: NodeId
    answer: asyncio.Future[Plain]
    is_sent: bool = False


class MeshRpc:
    """Made before the switchboard starts. `close` ends every call and handler."""

    def __init__(self, me: NodeId, switchboard: Switchboard) -> None:
        self._me = me
        self._switchboard = switchboard
        self._calls: dict[int, _Call] = {}
        self._streams: dict[int, StreamReader] = {}
        self._next_id = secrets.randbits(62)
        self._server = RpcServer(switchboard)
        switchboard.route("rpc", self._on_envelope)
        switchboard.on_link(self._on_link)

    def serve(self, method: str, handler: Handler) -> None:
        self._server.serve(method, handler)

    def unserve(self, method: str) -> None:
        self._server.unserve(method)

    def serve_stream(self, method: str, handler: StreamHandler) -> None:
        self._server.serve_stream(method, handler)

    @property
    def in_flight(self) -> Mapping[str, int]:
        """Calls and streams under way: `asked` by this node, `served` for others."""
        return {"asked": len(self._calls) + len(self._streams), "served": self._server.in_flight}

    async def close(self) -> None:
        for node_id in {call.to for call in self._calls.values()} | {s.to for s in self._streams.values()}:
            self._fail_peer(node_id, "this node is shutting down")
        await self._server.close()

    async def call(self, to: NodeId, method: str, body: Mapping[str, Plain], *, timeout_ms: int) -> Plain:
        """See `rpc_contract.Rpc.call`. Also raises WireError when `body` is too long to send."""
        _check_timeout(timeout_ms)
        if to == self._me:
            return await self._call_self(method, body, timeout_ms)
        call_id = self._new_id()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_ms / 1_000
        call = _Call(to, loop.create_future())
        self._calls[call_id] = call
        self._switchboard.hold(to)
        is_answered = False
        try:
            request = Request(call_id=call_id, method=method, body=body, timeout_ms=timeout_ms)
            await self._send_request(to, request, deadline)
            call.is_sent = True
            async with asyncio.timeout_at(deadline):
                answer = await call.answer
            is_answered = True
            return answer
        except TimeoutError as error:
            raise DeadlineExceededError(f"{method}: no answer within {timeout_ms} ms") from error
        except RemoteError:
            is_answered = True
            raise
        finally:
            del self._calls[call_id]
            if call.is_sent and not is_answered:
                self._switchboard.send(to, Cancel(call_id=call_id))
            self._switchboard.release(to)

    async def stream(
        self, to: NodeId, method: str, body: Mapping[str, Plain], *, timeout_ms: int
    ) -> AsyncGenerator[bytes, None]:
        """See `rpc_contract.Rpc.stream`. Closing the iterator early tells the peer to stop."""
        _check_timeout(timeout_ms)
        if to == self._me:
            async with aclosing(self._stream_self(method, body, timeout_ms)) as chunks:
                async for chunk in chunks:
                    yield chunk
            return
        call_id = self._new_id()
        reader = StreamReader(to)
        self._streams[call_id] = reader
        self._switchboard.hold(to)
        is_over = False
        try:
            deadline = asyncio.get_running_loop().time() + timeout_ms / 1_000
            request = Request(
                call_id=call_id, method=method, body=body, timeout_ms=timeout_ms, credit=STREAM_CREDIT
            )
            await self._send_request(to, request, deadline)
            reader.is_sent = True
            while True:
                data = await self._next_chunk(reader, method, timeout_ms)
                if data is None:
                    break
                yield data
                granted = reader.take_credit()
                if granted:
                    message = StreamCredit(call_id=call_id, chunks=granted)
                    await self._send_later(to, message, timeout_ms)
            is_over = True
        except RemoteError:
            is_over = True
            raise
        finally:
            del self._streams[call_id]
            if reader.is_sent and not is_over:
                self._switchboard.send(to, Cancel(call_id=call_id))
            self._switchboard.release(to)

    async def _next_chunk(self, reader: StreamReader, method: str, timeout_ms: int) -> bytes | None:
        try:
            async with asyncio.timeout(timeout_ms / 1_000):
                return await reader.next()
        except TimeoutError as error:
            raise DeadlineExceededError(f"{method}: no chunk within {timeout_ms} ms") from error

    async def _send_request(self, to: NodeId, request: Request, deadline: float) -> None:
        wait_until = min(deadline, asyncio.get_running_loop().time() + LINK_WAIT_MS / 1_000)
        if not await send_until(self._switchboard, to, request, wait_until):
            raise PeerUnreachableError(f"{request.method}: no link to node {to}, nothing was sent")

    async def _send_later(self, to: NodeId, message: RpcMessage, timeout_ms: int) -> None:
        deadline = asyncio.get_running_loop().time() + timeout_ms / 1_000
        if not await send_until(self._switchboard, to, message, deadline):
            raise PeerLostError(f"no link to node {to} any more")

    def _new_id(self) -> int:
        if len(self._calls) + len(self._streams) >= CALLS_MAX:
            raise MeshBusyError(f"{CALLS_MAX} calls are under way already")
        self._next_id += 1
        return self._next_id

    # Oneself: no wire, same errors.

    async def _call_self(self, method: str, body: Mapping[str, Plain], timeout_ms: int) -> Plain:
        handler = self._server.handler(method)
        try:
            async with asyncio.timeout(timeout_ms / 1_000):
                return await handler(self._me, body)
        except TimeoutError as error:
            raise DeadlineExceededError(f"{method}: no answer within {timeout_ms} ms") from error
        except Exception as error:
            raise remote_error_of(error, method) from error

    async def _stream_self(
        self, method: str, body: Mapping[str, Plain], timeout_ms: int
    ) -> AsyncGenerator[bytes, None]:
        async with aclosing(chunked(self._server.stream_handler(method)(self._me, body))) as chunks:
            while True:
                try:
                    async with asyncio.timeout(timeout_ms / 1_000):
                        chunk = await anext(chunks)
                except StopAsyncIteration:
                    return
                except TimeoutError as error:
                    raise DeadlineExceededError(f"{method}: no chunk within {timeout_ms} ms") from error
                except Exception as error:
                    raise remote_error_of(error, method) from error
                yield chunk

    # From the wire.

    def _on_envelope(self, sender: NodeId, envelope: Envelope) -> None:
        message = parse(envelope, KINDS)
        if isinstance(message, Request | Cancel | StreamCredit):
            self._server.on_message(sender, message)
        else:
            self._on_answer(sender, message)

    def _on_answer(self, sender: NodeId, message: Reply | ErrorReply | StreamChunk | StreamEnd) -> None:
        call, reader = self._calls.get(message.call_id), self._streams.get(message.call_id)
        waiting = call or reader
        if waiting is None or waiting.to != sender:
            raise WireError("unknown_call")  # too late, or not the one who was asked
        if isinstance(message, ErrorReply):
            error = RemoteError(message.code, message.message, message.outcome)
            if reader is not None:
                reader.fail(error)
            elif call is not None and not call.answer.done():
                call.answer.set_exception(error)
        elif reader is not None:
            reader.take(message)
        elif call is not None and isinstance(message, Reply) and not call.answer.done():
            call.answer.set_result(message.body)  # type: ignore[arg-type]  # unpacked, hence plain

    def _on_link(self, node_id: NodeId, fact: LinkFact) -> None:
        if fact is LinkFact.REFUSED:  # the process is gone: no answer will ever come
            self._fail_peer(node_id, f"node {node_id} went away before it answered")

    def _fail_peer(self, node_id: NodeId, why: str) -> None:
        """What has not left yet is not lost: it may still meet the peer's next process."""
        for call in self._calls.values():
            if call.to == node_id and call.is_sent and not call.answer.done():
                call.answer.set_exception(PeerLostError(why))
        for reader in self._streams.values():
            if reader.to == node_id and reader.is_sent:
                reader.fail(PeerLostError(why))


def _check_timeout(timeout_ms: int) -> None:
    if not 0 < timeout_ms <= TIMEOUT_MS_MAX:
        raise ValueError(f"timeout_ms must be 1 to {TIMEOUT_MS_MAX}, got {timeout_ms}")
