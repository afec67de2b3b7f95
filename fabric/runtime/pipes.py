"""Pipes between this node and another, made of the mesh's streams: bytes both ways, in order, with an end.

Theory. RPC has streams in one direction: who asks, reads. So a pipe is two of them, and each end pulls what
the other has written (`pipe.read`); `pipe.open` makes it and says what for. Credits of the streams are the
back-pressure: a writer waits until its reader has taken what is under way. The link is the mesh's,
encrypted and authenticated by CURVE; there is no other port.

A chunk begins with a byte that tells its kind: data, or a sign of life, which is sent when there is nothing
else, so that the silence of a dead peer differs from that of a pipe nobody writes to. A stream that ends is
the end of what was written; one that fails is a broken pipe.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping

from fabric.errors import FabricError, Outcome, RemoteError
from fabric.mesh.rpc_contract import Rpc
from fabric.runtime.pipe_end import PipeEnd
from proto.codec import Plain
from proto.ids import NodeId

log = logging.getLogger(__name__)

PIPE_OPEN, PIPE_READ = "pipe.open", "pipe.read"
OPEN_TIMEOUT_MS = 10_000
LIFE_S = 15.0  # a sign of it at least so often
SILENCE_MS = 60_000  # after which the other end counts as dead
LINGER_S = 30.0  # how long what was written waits to be taken once its end was closed
PIPES_OF_PEER_MAX = 64
PURPOSE_CHARACTERS_MAX = 128
ID_CHARACTERS = 32
_DATA, _LIFE = b"\1", b"\0"

Serve = Callable[[NodeId, str, PipeEnd], Awaitable[None]]  # the peer, and what for; until it ends
Key = tuple[NodeId, str]


class Pipes:
    """This node's ends of all pipes. `serve` is given those that peers open, and decides by the purpose
    whether it wants them: it raises RemoteError or any FabricError, or just closes what it does not."""

    def __init__(self, rpc: Rpc, serve: Serve) -> None:
        self._rpc = rpc
        self._serve = serve
        self._ends: dict[Key, PipeEnd] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        rpc.serve(PIPE_OPEN, self._on_open)
        rpc.serve_stream(PIPE_READ, self._on_read)

    async def connect(self, to: NodeId, purpose: str) -> PipeEnd:
        """A new pipe to `to`, which is told what for. Raises ConnectionError."""
        key = (to, secrets.token_hex(ID_CHARACTERS // 2))
        if sum(1 for peer, _ in self._ends if peer == to) >= PIPES_OF_PEER_MAX:
            raise ConnectionError(f"{PIPES_OF_PEER_MAX} pipes to node {to} are open already")
        end = self._ends[key] = PipeEnd()
        try:
            body: Mapping[str, Plain] = {"pipe": key[1], "purpose": purpose}
            await self._rpc.call(to, PIPE_OPEN, body, timeout_ms=OPEN_TIMEOUT_MS)
        except BaseException as error:
            del self._ends[key]
            if isinstance(error, FabricError):
                raise ConnectionError(str(error)) from error
            raise
        self._spawn(self._pull(key, end), f"pipe to {to}")
        return end

    async def close(self) -> None:
        """Breaks what is open."""
        for end in self._ends.values():
            end.fail()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _on_open(self, sender: NodeId, body: Mapping[str, Plain]) -> Plain:
        pipe, purpose = body.get("pipe"), body.get("purpose")
        if not isinstance(pipe, str) or len(pipe) != ID_CHARACTERS or (sender, pipe) in self._ends:
            raise _invalid("pipe must be 32 characters that are not in use")
        if not isinstance(purpose, str) or len(purpose) > PURPOSE_CHARACTERS_MAX:
            raise _invalid(f"purpose must be text of at most {PURPOSE_CHARACTERS_MAX} characters")
        if sum(1 for peer, _ in self._ends if peer == sender) >= PIPES_OF_PEER_MAX:
            raise RemoteError("fabric.pipe.busy", "too many pipes are open", Outcome.NOT_DONE)
        end = self._ends[(sender, pipe)] = PipeEnd()
        self._spawn(self._pull((sender, pipe), end), f"pipe from {sender}")
        self._spawn(self._run(sender, purpose, end), f"serves pipe from {sender}")
        return None

    async def _run(self, sender: NodeId, purpose: str, end: PipeEnd) -> None:
        try:
            await self._serve(sender, purpose, end)
        except FabricError as error:
            log.info("pipe refused", extra={"node": sender, "purpose": purpose, "reason": str(error)})
        finally:
            end.close()

    async def _on_read(self, sender: NodeId, body: Mapping[str, Plain]) -> AsyncIterator[bytes]:
        """What this node's end has written. Whoever reads may do so once, from the beginning."""
        pipe = body.get("pipe")
        end = self._ends.get((sender, pipe)) if isinstance(pipe, str) else None
        if end is None or end.is_taken:
            raise RemoteError("fabric.pipe.not_found", "no such pipe", Outcome.NOT_DONE)
        end.is_taken = True
        has_ended = False
        try:
            while True:
                try:
                    async with asyncio.timeout(LIFE_S):
                        data = await end.take_written()
                except TimeoutError:
                    yield _LIFE
                    continue
                if not data:
                    break
                yield _DATA + data
            has_ended = True
        except ConnectionError as error:
            raise RemoteError("fabric.pipe.broken", "the pipe was closed at the other end") from error
        finally:
            if not has_ended:
                end.deafen()

    async def _pull(self, key: Key, end: PipeEnd) -> None:
        """Brings what the other end writes, until both directions have ended or this end is broken."""
        to, pipe = key
        chunks = self._rpc.stream(to, PIPE_READ, {"pipe": pipe}, timeout_ms=SILENCE_MS)
        try:
            async for chunk in chunks:
                if chunk[:1] == _DATA and len(chunk) > 1 and not await end.put_arrived(chunk[1:]):
                    break
            else:
                await end.put_arrived(b"")
            await end.wait_closed()
            async with asyncio.timeout(LINGER_S):
                await end.wait_taken()
        except (FabricError, ConnectionError, TimeoutError):
            end.fail()
        finally:
            if isinstance(chunks, AsyncGenerator):  # tells the other end when we gave up first
                with contextlib.suppress(FabricError):
                    await chunks.aclose()
            if self._ends.get(key) is end:
                del self._ends[key]

    def _spawn(self, work: Awaitable[None], name: str) -> None:
        async def run() -> None:
            try:
                await work
            except Exception:
                log.exception("pipe task failed", extra={"task": name})

        task = asyncio.get_running_loop().create_task(run(), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _invalid(message: str) -> RemoteError:
    return RemoteError("fabric.pipe.invalid", message, Outcome.NOT_DONE)
