"""One bare TCP connection attempt: does the machine answer, and does anybody listen?

The answer comes from the other machine's kernel within a round trip, however starved its processes are. So
what counts is what our own kernel knows when time is up, and not when our loop came to look: a raw socket
costs one turn of the loop where a stream costs five, and is looked at once more before silence is called
silence.
"""

from __future__ import annotations

import asyncio
import errno
import select
import socket
from urllib.parse import urlsplit

from fabric.mesh.contract import LinkFact

PROBE_TIMEOUT_MS = 500


async def probe(endpoint: str, *, timeout_ms: int = PROBE_TIMEOUT_MS) -> LinkFact:
    """UP: somebody accepts. REFUSED: the machine says nobody listens. LOST: silence or no way there."""
    try:
        parts = urlsplit(endpoint)
        host, port = parts.hostname or "", parts.port or 0
        family, address = await _resolved(host, port)
        with socket.socket(family, socket.SOCK_STREAM) as attempt:
            return await _connect(attempt, address, timeout_ms / 1_000)
    except (OSError, ValueError):
        return LinkFact.LOST


async def _resolved(host: str, port: int) -> tuple[int, tuple[object, ...]]:
    """Members' endpoints are numbers, which cost nothing; a token may carry a name."""
    loop = asyncio.get_running_loop()
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return family, (host, port)
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return found[0][0], found[0][4]


async def _connect(attempt: socket.socket, address: tuple[object, ...], timeout_s: float) -> LinkFact:
    attempt.setblocking(False)
    code = attempt.connect_ex(address)
    if code == errno.EINPROGRESS:
        loop = asyncio.get_running_loop()
        answered = asyncio.Event()
        loop.add_writer(attempt.fileno(), answered.set)
        try:
            async with asyncio.timeout(timeout_s):
                await answered.wait()
        except TimeoutError:
            pass  # and yet the kernel may know by now
        finally:
            loop.remove_writer(attempt.fileno())
        if not select.select([], [attempt], [], 0)[1]:
            return LinkFact.LOST
        code = attempt.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code == errno.ECONNREFUSED:
        return LinkFact.REFUSED
    return LinkFact.UP if code == 0 else LinkFact.LOST
