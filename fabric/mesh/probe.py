"""One bare TCP connection attempt: does the machine answer, and does anybody listen?"""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from fabric.mesh.contract import LinkFact

PROBE_TIMEOUT_MS = 500


async def probe(endpoint: str, *, timeout_ms: int = PROBE_TIMEOUT_MS) -> LinkFact:
    """UP: somebody accepts. REFUSED: the machine says nobody listens. LOST: silence or no way there."""
    parts = urlsplit(endpoint)
    try:
        async with asyncio.timeout(timeout_ms / 1_000):
            _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    except ConnectionRefusedError:
        return LinkFact.REFUSED
    except (OSError, TimeoutError, ValueError):
        return LinkFact.LOST
    writer.transport.abort()
    return LinkFact.UP
