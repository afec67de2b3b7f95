"""All dialects on one port.

    root = build_root(cloud, apps={"/identity": identity.app(), "/compute": compute.app(), ...})
    server = await ApiServer.listen(root, host="0.0.0.0", port=8774)      # port 0: any; see `server.port`
    server = await ApiServer.listen_on(root, sock)                        # a socket somebody else bound
    ...
    await server.close()

Discovery documents of the mounted APIs come with `build_root`. keep-alive, `Expect: 100-continue`, HEAD and
chunked requests are aiohttp's. One access line for each request is logged by `fabric.api.server` at INFO.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping
from dataclasses import replace

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from fabric.api import versions
from fabric.api.faults import FABRIC
from fabric.api.protocol_log import protocol_logger
from fabric.api.request import CALLER, CLOUD, GLOBAL_REQUEST_ID, REQUEST_ID
from fabric.api.routing import Route, build_app
from fabric.api.validation import JSON_BYTES_MAX
from fabric.control.context import Caller, Cloud

log = logging.getLogger(__name__)

KEEPALIVE_S = 75.0
SHUTDOWN_S = 5.0  # answers under way may finish
BACKLOG = 512
_PATH_CHARS_MAX = 512


ROOT = replace(FABRIC, name="root")


def build_root(cloud: Cloud, *, apps: Mapping[str, web.Application]) -> web.Application:
    """The application of the one port. `apps`: mount path ("/compute") -> `routing.build_app` result."""
    documents = [
        Route("GET", path, handler, public=True)
        for mount in apps
        for path, handler in versions.DOCUMENTS.get(mount, ())
    ]
    index = Route("GET", "/", versions.index_of(tuple(apps)), public=True)
    root = build_app("root", [index, *documents], ROOT, client_max_size=JSON_BYTES_MAX)
    root[CLOUD] = cloud
    for mount, app in apps.items():  # after the documents: a mount swallows every path below it
        root.add_subapp(mount, app)
    return root


class ApiServer:
    """A listening root application. Made by `listen` or `listen_on`."""

    def __init__(self, runner: web.AppRunner) -> None:
        self._runner = runner

    @classmethod
    async def listen(cls, root: web.Application, *, host: str, port: int) -> ApiServer:
        """Raises: OSError when the address is taken."""
        server = await cls._set_up(root)
        await server._start(web.TCPSite(server._runner, host, port, backlog=BACKLOG))
        return server

    @classmethod
    async def listen_on(cls, root: web.Application, sock: socket.socket) -> ApiServer:
        """On a bound socket, which several worker processes may share."""
        server = await cls._set_up(root)
        await server._start(web.SockSite(server._runner, sock, backlog=BACKLOG))
        return server

    @property
    def port(self) -> int:
        return int(self._runner.addresses[0][1])

    async def close(self) -> None:
        await self._runner.cleanup()

    @classmethod
    async def _set_up(cls, root: web.Application) -> ApiServer:
        runner = web.AppRunner(
            root,
            auto_decompress=False,  # bombs; `routing` refuses Content-Encoding
            logger=protocol_logger(),
            access_log=log,
            access_log_class=AccessLog,
            keepalive_timeout=KEEPALIVE_S,
            shutdown_timeout=SHUTDOWN_S,
        )
        await runner.setup()
        return cls(runner)

    async def _start(self, site: web.BaseSite) -> None:
        try:
            await site.start()
        except OSError:
            await self._runner.cleanup()
            raise


class AccessLog(AbstractAccessLogger):
    """One structured line for each request: no query strings, headers or bodies, so no secrets."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        caller = request.get(CALLER)
        self.logger.info(
            "request",
            extra={
                "method": request.method,
                "path": request.path[:_PATH_CHARS_MAX],
                "status": response.status,
                "ms": round(time * 1000, 1),
                "bytes": response.body_length,
                "request_id": request.get(REQUEST_ID),
                "global_request_id": request.get(GLOBAL_REQUEST_ID),
                "user": caller.user_id if isinstance(caller, Caller) else None,
                "project": caller.project_id if isinstance(caller, Caller) else None,
                "peer": request.remote,
            },
        )

    @property
    def enabled(self) -> bool:
        return self.logger.isEnabledFor(logging.INFO)
