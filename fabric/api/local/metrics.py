"""GET /metrics: on the local socket always, on TCP where the configuration says so."""

from __future__ import annotations

import os
from collections.abc import Callable

from aiohttp import web

from fabric.errors import ConfigError
from fabric.runtime.prometheus_text import CONTENT_TYPE

STOP_GRACE_S = 0.5


def metrics_route(scrape: Callable[[], str]) -> web.RouteDef:
    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=scrape().encode(), headers={"Content-Type": CONTENT_TYPE})

    return web.get("/metrics", metrics)


class MetricsServer:
    """What listens on TCP serves nothing else: who may scrape may not operate."""

    def __init__(self, runner: web.AppRunner, port: int) -> None:
        self._runner = runner
        self.port = port

    @classmethod
    async def listen(cls, scrape: Callable[[], str], *, host: str, port: int) -> MetricsServer:
        """Raises ConfigError naming the setting."""
        app = web.Application(client_max_size=1)
        app.add_routes([metrics_route(scrape)])
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_GRACE_S)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            await runner.cleanup()
            number = error.errno or 0  # below 0: the resolver's own, which has no text in errno.h
            why = os.strerror(number) if number > 0 else error.strerror or error
            raise ConfigError(
                f"metrics.listen, metrics.port: cannot listen on {host} port {port}: {why}"
            ) from error
        return cls(runner, int(runner.addresses[0][1]))

    async def close(self) -> None:
        await self._runner.cleanup()
