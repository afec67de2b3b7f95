"""The public API on this node: built once the rows are there, listened for, and told to the mesh."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable
from typing import Any

from fabric.config import Config
from fabric.control.context import Cloud
from fabric.core.membership.model import RoleClaim
from fabric.errors import ConfigError
from fabric.runtime.addresses import url_of
from fabric.runtime.clock import Clock
from fabric.runtime.events import EventLog
from fabric.supervisor import Supervisor

log = logging.getLogger(__name__)

API_RETRY_S = 30.0
API_ROLE = "api"

Served = Callable[[RoleClaim, str], None]


class ApiSide:
    def __init__(
        self,
        *,
        config: Config,
        fd: int | None,
        address: str,
        clock: Clock,
        events: EventLog,
        supervisor: Supervisor,
        stack: contextlib.AsyncExitStack,
        on_served: Served,
    ) -> None:
        """`fd`: a socket that listens already. `on_served`: the role's claim, and the URL to tell."""
        self._config = config
        self._fd = fd
        self._address = address
        self._clock = clock
        self._events = events
        self._supervisor = supervisor
        self._stack = stack
        self._on_served = on_served

    async def start(self, cloud: Cloud, *, must: bool) -> None:
        """Where the rows are, the API is. A founder that cannot listen does not start (`must`), and whoever
        starts it sees why. Any other node became a voter by itself, maybe long after its start: it votes on,
        and tries again. Raises ConfigError."""
        try:
            await self._listen(cloud)
        except ConfigError as error:
            if must:
                raise
            self._not_served(error)
            self._events.add("api.not_served", self._config.node_name, {"reason": str(error)})
            self._supervisor.supervise(self._stack, "api", self._listen_later(cloud))

    async def _listen_later(self, cloud: Cloud) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(API_RETRY_S)
            try:
                port = await self._listen(cloud)
            except ConfigError as error:
                self._not_served(error)
            else:
                break
        log.info("api served after all", extra={"port": port})
        await asyncio.Event().wait()

    def _not_served(self, error: ConfigError) -> None:
        log.error("api not served", extra={"reason": str(error), "retry_s": API_RETRY_S})

    async def _listen(self, cloud: Cloud) -> int:
        """The port. Raises ConfigError: it cannot listen there."""
        from fabric.api.server import ApiServer  # only here: a node without the API starts faster

        api = self._config.api
        # In a thread: importing the API and compiling its schemas takes a second, and beats must not wait.
        root = await asyncio.to_thread(_build, cloud)
        if self._fd is not None:
            os.set_inheritable(self._fd, False)  # no child of ours may hold the API's port
            server = await ApiServer.listen_on(root, socket.socket(fileno=self._fd))
        else:
            try:
                server = await ApiServer.listen(root, host=api.listen, port=api.port)
            except OSError as error:
                number = error.errno or 0  # below 0: the resolver's own, which has no text in errno.h
                raise ConfigError(
                    f"api.listen, api.port: cannot listen on {api.listen} port {api.port}: "
                    f"{os.strerror(number) if number > 0 else error.strerror or error}"
                ) from error
        self._stack.push_async_callback(server.close)
        claim = RoleClaim(role=API_ROLE, fence=cloud.state.applied_index, since_ms=self._clock.wall_ms())
        self._on_served(claim, api.public_url or url_of(self._address, server.port))
        return server.port


def _build(cloud: Cloud) -> Any:
    from fabric.api.public import build_public

    return build_public(cloud)
