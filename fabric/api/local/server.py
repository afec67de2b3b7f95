"""The operator's API on a bound local socket."""

from __future__ import annotations

import contextlib
import socket

from aiohttp import web

from fabric.api.local.app import LocalParts, build_local_app

SHUTDOWN_S = 0.5


async def serve_local(stack: contextlib.AsyncExitStack, sock: socket.socket, parts: LocalParts) -> None:
    """Until `stack` unwinds."""
    # handlers end with their client: one that follows events would else wait for the next for ever
    runner = web.AppRunner(
        build_local_app(parts), access_log=None, shutdown_timeout=SHUTDOWN_S, handler_cancellation=True
    )
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.SockSite(runner, sock).start()
