"""Does the machine answer, does anybody listen; and whose fault is a timeout."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from fabric.mesh.contract import LinkFact
from fabric.mesh.probe import probe


async def test_somebody_accepts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert await probe(f"tcp://127.0.0.1:{listener.getsockname()[1]}") is LinkFact.UP


async def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert await probe(f"tcp://127.0.0.1:{port}") is LinkFact.REFUSED


@pytest.mark.parametrize(
    "endpoint", ["tcp://127.0.0.1:99999", "tcp://[::1", "", "tcp://127.0.0.1", "inproc://x"]
)
async def test_no_endpoint_at_all_is_lost_and_no_error(endpoint: str) -> None:
    assert await probe(endpoint) in (LinkFact.LOST, LinkFact.REFUSED)


async def test_our_own_stall_is_not_taken_for_the_others_silence() -> None:
    """This loop hangs for longer than the time-out; the kernel had the answer all the while."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        looking = asyncio.create_task(probe(f"tcp://127.0.0.1:{listener.getsockname()[1]}", timeout_ms=50))
        await asyncio.sleep(0)
        time.sleep(0.2)  # the fault under test
        assert await looking is LinkFact.UP


async def test_a_machine_that_answers_nothing_is_lost() -> None:
    """A listener whose queue is full drops what comes: as silent as a host without power."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        waiting = [socket.socket() for _ in range(8)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        await asyncio.sleep(0)
        assert await probe(f"tcp://127.0.0.1:{port}", timeout_ms=100) is LinkFact.LOST
        for each in waiting:
            each.close()
