"""A socket that is never empty leaves the loop its turns, by count and by time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
import zmq

from fabric.mesh import fd_reader
from fabric.mesh.fd_reader import FdReader


@pytest.fixture
def socket() -> Iterator[zmq.Socket[bytes]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    made, peer = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
    made.bind("inproc://never-empty")
    peer.connect("inproc://never-empty")
    peer.send(b"nobody takes this one")
    yield made
    made.close()
    peer.close(linger=0)
    context.term()


async def test_costly_frames_do_not_starve_the_loop(socket: zmq.Socket[bytes]) -> None:
    read, turns = 0, []

    def costly() -> None:
        nonlocal read
        read += 1
        time.sleep(0.005)

    reader = FdReader(socket, costly)
    for _ in range(4):
        await asyncio.sleep(0)
        turns.append(read)
    reader.close()
    longest = max(after - before for before, after in zip([0, *turns], turns, strict=False))
    assert read > 0
    assert longest <= 2 * fd_reader.BATCH_S / 0.005


async def test_cheap_frames_are_read_in_batches(socket: zmq.Socket[bytes]) -> None:
    read = 0

    def cheap() -> None:
        nonlocal read
        read += 1

    reader = FdReader(socket, cheap)
    while read == 0:
        await asyncio.sleep(0)
    assert 1 < read <= 2 * fd_reader.BATCH_FRAMES_MAX
    reader.close()


async def test_an_error_of_one_frame_does_not_end_the_reading(socket: zmq.Socket[bytes]) -> None:
    seen: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: seen.append(str(context["exception"])))
    left = [1, 2, 3]

    def read() -> None:
        if not left:
            raise zmq.Again
        number = left.pop(0)
        if number == 2:
            raise ValueError("bad frame")
        seen.append(str(number))

    reader = FdReader(socket, read)
    async with asyncio.timeout(5):
        while len(seen) < 3:
            await asyncio.sleep(0)
    reader.close()
    assert seen == ["1", "bad frame", "3"]
