"""One network's HTTP listener of the metadata service."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from fabric.compute.metadata.facts import GuestFacts
from fabric.compute.metadata.paths import find
from proto.ids import NetworkId

log = logging.getLogger(__name__)

KEEPALIVE_S = 15.0
REQUEST_BODY_BYTES_MAX = 4_096
CLOSE_TIMEOUT_S = 2.0

LookupByAddress = Callable[[str], GuestFacts | None]


async def listen(lookup: LookupByAddress, network_id: NetworkId, address: str, port: int) -> web.AppRunner:
    """On `port`, or on any where that is taken or 0. Raises OSError."""
    app = web.Application(client_max_size=REQUEST_BODY_BYTES_MAX)
    app.router.add_route("*", "/{path:.*}", _handler(lookup))
    runner = web.AppRunner(
        app, access_log=None, keepalive_timeout=KEEPALIVE_S, shutdown_timeout=CLOSE_TIMEOUT_S
    )
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, address, port).start()
        except OSError:
            if port == 0:
                raise
            log.warning("metadata port is taken", extra={"network": network_id, "port": port})
            await web.TCPSite(runner, address, 0).start()
    except BaseException:
        await runner.cleanup()
        raise
    return runner


def _handler(lookup: LookupByAddress) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        transport = request.transport
        peer = transport.get_extra_info("peername") if transport is not None else None
        facts = lookup(peer[0]) if peer else None
        found = find(facts, request.path) if facts is not None else None
        if found is None:
            return web.Response(status=404, text="404 Not Found\n")
        if request.method not in ("GET", "HEAD"):
            return web.Response(status=405, headers={"Allow": "GET, HEAD"})
        return web.Response(body=found.body, content_type=found.content_type)

    return handle
