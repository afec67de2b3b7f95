"""The serving side of RPC: one task for each request, bounded for each peer and in all."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import cast

from fabric.errors import DeadlineExceededError, Outcome, RemoteError
from fabric.mesh.rpc_contract import Handler, StreamHandler
from fabric.mesh.rpc_errors import remote_error_of
from fabric.mesh.rpc_send import send_until
from fabric.mesh.switchboard import Switchboard
from proto.codec import Plain
from proto.errors import WireError
from proto.ids import NodeId
from proto.rpc import (
    CHUNK_BYTES_MAX,
    CREDIT_MAX,
    Cancel,
    ErrorReply,
    Reply,
    Request,
    RpcMessage,
    StreamChunk,
    StreamCredit,
    StreamEnd,
)

log = logging.getLogger(__name__)

SERVED_MAX = 512  # requests under way, of all peers
SERVED_OF_PEER_MAX = 128  # one busy peer leaves room for the others
REFUSALS_MAX = 512  # answers "too busy" that wait for their link
REFUSAL_S = 5.0
CLEANUP_S = 5.0


@dataclass(slots=True, eq=False)
class _Served:
    task: asyncio.Task[None]
    credit: asyncio.Semaphore
    granted: int  # credit given and not used; bounds what a peer can make us believe


async def chunked(source: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Pieces no longer than a frame can carry; empty ones are skipped. Closing it closes `source` too,
    so a handler's files and locks are released when its reader has gone, not when memory is."""
    try:
        async for data in source:
            for start in range(0, len(data), CHUNK_BYTES_MAX):
                yield data[start : start + CHUNK_BYTES_MAX]
    finally:
        if isinstance(source, AsyncGenerator):
            await source.aclose()


class RpcServer:
    """Owns its handler tasks: they cannot outlive `close`, and none can fail unseen."""

    def __init__(self, switchboard: Switchboard) -> None:
        self._switchboard = switchboard
        self._handlers: dict[str, Handler] = {}
        self._stream_handlers: dict[str, StreamHandler] = {}
        self._served: dict[tuple[NodeId, int], _Served] = {}
        self._of_peer: Counter[NodeId] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._refusals: set[asyncio.Task[bool]] = set()
        self._is_closed = False

    def serve(self, method: str, handler: Handler) -> None:
        assert method not in self._handlers, method
        self._handlers[method] = handler

    def unserve(self, method: str) -> None:
        del self._handlers[method]

    def serve_stream(self, method: str, handler: StreamHandler) -> None:
        assert method not in self._stream_handlers, method
        self._stream_handlers[method] = handler

    def handler(self, method: str) -> Handler:
        """Raises RemoteError `fabric.mesh.no_method`, as a peer would answer."""
        handler = self._handlers.get(method)
        if handler is None:
            raise _no_method(method)
        return handler

    def stream_handler(self, method: str) -> StreamHandler:
        handler = self._stream_handlers.get(method)
        if handler is None:
            raise _no_method(method)
        return handler

    @property
    def in_flight(self) -> int:
        return len(self._served)

    async def close(self) -> None:
        self._is_closed = True
        tasks = [*self._tasks, *self._refusals]
        for task in tasks:
            task.cancel()
        if tasks:
            _, stuck = await asyncio.wait(tasks, timeout=CLEANUP_S)
            for task in stuck:
                log.warning("rpc handler ignores cancellation", extra={"task": task.get_name()})

    def on_message(self, sender: NodeId, message: Request | Cancel | StreamCredit) -> None:
        """Raises WireError for what cannot be answered."""
        if isinstance(message, Request):
            self._on_request(sender, message)
            return
        served = self._served.get((sender, message.call_id))
        if served is None:
            raise WireError("unknown_call")
        if isinstance(message, Cancel):
            served.task.cancel()
            return
        if served.granted + message.chunks > CREDIT_MAX:
            raise WireError("credit_exceeded")
        served.granted += message.chunks
        for _ in range(message.chunks):
            served.credit.release()

    def _on_request(self, sender: NodeId, request: Request) -> None:
        key = (sender, request.call_id)
        if self._is_closed or key in self._served:
            raise WireError("duplicate_call" if key in self._served else "closed")
        if len(self._served) >= SERVED_MAX or self._of_peer[sender] >= SERVED_OF_PEER_MAX:
            self._refuse(sender, request)
            return
        self._switchboard.hold(sender)
        credit = asyncio.Semaphore(request.credit)
        task = asyncio.get_running_loop().create_task(
            self._run(sender, request), name=f"rpc {request.method}"
        )
        self._served[key] = _Served(task, credit, request.credit)
        self._of_peer[sender] += 1
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: self._forget(key))

    def _refuse(self, sender: NodeId, request: Request) -> None:
        """Says that it is busy, as soon as the link back takes it: a caller that is told tries elsewhere."""
        busy = RemoteError("fabric.mesh.busy", "too many requests under way here", Outcome.NOT_DONE)
        answer = _error_reply(request.call_id, busy)
        if self._switchboard.send(sender, answer) or len(self._refusals) >= REFUSALS_MAX:
            return
        deadline = asyncio.get_running_loop().time() + min(REFUSAL_S, request.timeout_ms / 1_000)
        task = asyncio.get_running_loop().create_task(
            send_until(self._switchboard, sender, answer, deadline), name="rpc refusal"
        )
        self._refusals.add(task)
        task.add_done_callback(self._refusals.discard)

    def _forget(self, key: tuple[NodeId, int]) -> None:
        del self._served[key]
        self._switchboard.release(key[0])
        self._of_peer[key[0]] -= 1
        if self._of_peer[key[0]] == 0:
            del self._of_peer[key[0]]

    async def _run(self, sender: NodeId, request: Request) -> None:
        answer: RpcMessage
        try:
            if request.credit:
                answer = await self._stream(sender, request)
            else:
                async with asyncio.timeout(request.timeout_ms / 1_000):
                    body = await self.handler(request.method)(sender, _plain(request.body))
                answer = Reply(call_id=request.call_id, body=body)
        except TimeoutError:
            late = DeadlineExceededError(f"{request.method} took longer than its caller waits")
            answer = _error_reply(request.call_id, remote_error_of(late, request.method))
        except Exception as error:  # the top of a request: everything becomes an answer
            answer = _error_reply(request.call_id, remote_error_of(error, request.method))
        await self._answer(sender, request, answer)

    async def _answer(self, sender: NodeId, request: Request, answer: RpcMessage) -> None:
        deadline = asyncio.get_running_loop().time() + request.timeout_ms / 1_000
        try:
            is_sent = await send_until(self._switchboard, sender, answer, deadline)
        except WireError as error:  # too long or not plain; the work itself was done
            failed = RemoteError(error.code, f"{request.method}: answer cannot be sent: {error}")
            is_sent = await send_until(
                self._switchboard, sender, _error_reply(request.call_id, failed), deadline
            )
        if not is_sent:
            log.info("answer had no way back", extra={"node": sender, "method": request.method})

    async def _stream(self, sender: NodeId, request: Request) -> StreamEnd:
        """`timeout_ms` bounds each wait: for the handler, for credit, for the link."""
        served = self._served[(sender, request.call_id)]
        timeout_s = request.timeout_ms / 1_000
        loop = asyncio.get_running_loop()
        sequence = 0
        source = self.stream_handler(request.method)(sender, _plain(request.body))
        async with aclosing(chunked(source)) as chunks:
            while True:
                async with asyncio.timeout(timeout_s):
                    try:
                        data = await anext(chunks)
                    except StopAsyncIteration:
                        return StreamEnd(call_id=request.call_id, chunks=sequence)
                    await served.credit.acquire()
                served.granted -= 1
                chunk = StreamChunk(call_id=request.call_id, sequence=sequence, data=data)
                if not await send_until(self._switchboard, sender, chunk, loop.time() + timeout_s):
                    raise DeadlineExceededError(f"no link back to node {sender}")
                sequence += 1


def _plain(body: Mapping[str, object]) -> Mapping[str, Plain]:
    return cast(Mapping[str, Plain], body)  # it was unpacked, hence plain


def _no_method(method: str) -> RemoteError:
    return RemoteError("fabric.mesh.no_method", f"this node does not serve {method}", Outcome.NOT_DONE)


def _error_reply(call_id: int, error: RemoteError) -> ErrorReply:
    return ErrorReply(call_id=call_id, code=error.remote_code, message=error.message, outcome=error.outcome)
