"""What pipes promise, over every transport."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from fabric.errors import Outcome, RemoteError
from fabric.runtime import pipes as module
from fabric.runtime.pipe_end import CHUNK_BYTES, CHUNKS_MAX, PipeEnd
from fabric.runtime.pipes import PIPE_OPEN, PIPE_READ, PIPES_OF_PEER_MAX, Pipes
from proto.ids import NodeId
from tests.fixtures.mesh_nodes import RpcEnd, until


@dataclass
class Served:
    purposes: list[tuple[NodeId, str]] = field(default_factory=list)
    ends: list[PipeEnd] = field(default_factory=list)
    release: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class Node:
    end: RpcEnd
    pipes: Pipes
    served: Served

    @property
    def node_id(self) -> NodeId:
        return self.end.node_id


@pytest.fixture
async def nodes(ends: list[RpcEnd]) -> AsyncIterator[list[Node]]:
    made = []
    for end in ends:
        served = Served()

        async def serve(sender: NodeId, purpose: str, pipe: PipeEnd, served: Served = served) -> None:
            served.purposes.append((sender, purpose))
            served.ends.append(pipe)
            if purpose == "refuse":
                raise RemoteError("fabric.test", "not wanted", Outcome.NOT_DONE)
            if purpose == "echo":
                while data := await pipe.read():
                    await pipe.write(data)
                await pipe.write_eof()
            else:
                await served.release.wait()

        made.append(Node(end, Pipes(end.rpc, serve), served))
    yield made
    for node in made:
        await node.pipes.close()


async def read_all(pipe: PipeEnd) -> bytes:
    data = bytearray()
    while part := await pipe.read():
        data += part
    return bytes(data)


async def test_bytes_go_both_ways_in_order_and_end(nodes: list[Node]) -> None:
    a, b, _ = nodes
    pipe = await a.pipes.connect(b.node_id, "echo")
    sent = b"".join(bytes([number]) * (CHUNK_BYTES // 2 + number) for number in range(20))

    async def send() -> None:
        for start in range(0, len(sent), 300_000):
            await pipe.write(sent[start : start + 300_000])
        await pipe.write_eof()

    async with asyncio.TaskGroup() as group:
        group.create_task(send())
        back = await read_all(pipe)
    pipe.close()
    assert back == sent
    assert b.served.purposes == [(a.node_id, "echo")]
    with pytest.raises(ConnectionError):
        await pipe.write(b"more")


async def test_who_does_not_read_holds_the_writer_up(nodes: list[Node]) -> None:
    a, b, _ = nodes
    pipe = await a.pipes.connect(b.node_id, "hold")
    written = 0

    async def write() -> None:
        nonlocal written
        while True:
            await pipe.write(b"x" * CHUNK_BYTES)
            written += 1

    writing = asyncio.create_task(write())
    await until(lambda: written > 2 * CHUNKS_MAX)
    settled = -1
    while settled != written:  # until nothing goes any more
        settled = written
        await asyncio.sleep(0.2)
    assert written < 64
    for _ in range(written):
        await b.served.ends[0].read()
    await until(lambda: written > settled)
    writing.cancel()
    pipe.close()
    b.served.release.set()


async def test_a_close_without_the_end_breaks_both_directions(nodes: list[Node]) -> None:
    a, b, _ = nodes
    pipe = await a.pipes.connect(b.node_id, "hold")
    await until(lambda: bool(b.served.ends))
    pipe.close()
    with pytest.raises(ConnectionError):
        await b.served.ends[0].read()
    with pytest.raises(ConnectionError):
        await b.served.ends[0].write(b"x")
    with pytest.raises(ConnectionError):
        await pipe.read()
    b.served.release.set()


async def test_what_was_written_before_the_end_arrives_after_a_close(nodes: list[Node]) -> None:
    a, b, _ = nodes
    pipe = await a.pipes.connect(b.node_id, "hold")
    for _ in range(CHUNKS_MAX):
        await pipe.write(b"x" * CHUNK_BYTES)
    await pipe.write_eof()
    pipe.close()
    await until(lambda: bool(b.served.ends))
    assert len(await read_all(b.served.ends[0])) == CHUNKS_MAX * CHUNK_BYTES
    b.served.release.set()


async def test_one_that_is_not_wanted_is_closed(nodes: list[Node]) -> None:
    a, b, _ = nodes
    pipe = await a.pipes.connect(b.node_id, "refuse")
    with pytest.raises(ConnectionError):
        await pipe.read()


async def test_a_node_that_goes_away_breaks_them(nodes: list[Node]) -> None:
    a, b, _ = nodes
    pipe = await a.pipes.connect(b.node_id, "hold")
    await until(lambda: bool(b.served.ends))
    await b.pipes.close()
    with pytest.raises(ConnectionError):
        await pipe.read()


async def test_a_silent_pipe_shows_signs_of_life(nodes: list[Node], monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence longer than allowed, with signs in between, is no reason to break; without them it is."""
    a, b, _ = nodes
    monkeypatch.setattr(module, "SILENCE_MS", 400)
    monkeypatch.setattr(module, "LIFE_S", 0.05)
    pipe = await a.pipes.connect(b.node_id, "echo")
    await asyncio.sleep(1.0)
    await pipe.write(b"still there")
    assert await pipe.read() == b"still there"
    pipe.close()
    monkeypatch.setattr(module, "LIFE_S", 60.0)
    silent = await a.pipes.connect(b.node_id, "hold")
    with pytest.raises(ConnectionError):
        await silent.read()
    b.served.release.set()


async def test_only_the_two_ends_may_read_and_once(nodes: list[Node]) -> None:
    a, b, c = nodes
    pipe = await a.pipes.connect(b.node_id, "hold")
    await until(lambda: bool(b.served.ends) and b.served.ends[0].is_taken)
    (key,) = a.pipes._ends
    for node in (a, c):
        with pytest.raises(RemoteError) as caught:
            async for _ in node.end.rpc.stream(b.node_id, PIPE_READ, {"pipe": key[1]}, timeout_ms=5_000):
                pass
        assert caught.value.remote_code == "fabric.pipe.not_found"
    pipe.close()
    b.served.release.set()


@pytest.mark.parametrize(
    "body",
    [{}, {"pipe": "x", "purpose": "p"}, {"pipe": "0" * 32}, {"pipe": "0" * 32, "purpose": "p" * 200}],
)
async def test_nonsense_is_refused(nodes: list[Node], body: dict[str, str]) -> None:
    a, b, _ = nodes
    with pytest.raises(RemoteError) as caught:
        await a.end.rpc.call(b.node_id, PIPE_OPEN, dict(body), timeout_ms=5_000)
    assert caught.value.remote_code == "fabric.pipe.invalid"
    assert b.served.ends == []


async def test_there_are_only_so_many(nodes: list[Node]) -> None:
    a, b, _ = nodes
    for _ in range(PIPES_OF_PEER_MAX):
        await a.pipes.connect(b.node_id, "hold")
    with pytest.raises(ConnectionError, match="open already"):
        await a.pipes.connect(b.node_id, "hold")
    b.served.release.set()
