"""The metadata service: one HTTP listener for each network, on the host itself.

A guest is known by the network its listener belongs to and the source address of its connection, which
anti-spoofing guards; headers it sends prove nothing and are not read. Two networks with the same range
have two listeners and never mix. A listener opens when its network is first planned, that is after the
first complete pull: until then connections are refused, which guests retry, while a 5xx they would not
(METADATA: "any status >= 400 is final"). Ports are kept on disk, so that the redirects in the kernel
still lead here when the agent comes back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from fabric.compute.durable_file import read_json, save_json
from fabric.compute.metadata.facts import GuestFacts
from proto.ids import NetworkId

log = logging.getLogger(__name__)

Lookup = Callable[[NetworkId, str], GuestFacts | None]


class Listener(Protocol):
    """As much of `aiohttp.web.AppRunner` as is used here."""

    @property
    def addresses(self) -> list[Any]: ...

    async def cleanup(self) -> None: ...


class MetadataService:
    def __init__(self, lookup: Lookup, file: Path, *, address: str = "0.0.0.0") -> None:  # noqa: S104
        """`address`: guests reach it on their bridges' addresses, so all of them by default. Reads
        `file`; a damaged one only costs the old ports."""
        self._lookup = lookup
        self._file = file
        self._address = address
        self._ports = _read_ports(file)
        self._runners: dict[NetworkId, Listener] = {}
        self._lock = asyncio.Lock()

    async def ensure_listener(self, network_id: NetworkId) -> int:
        """The port where this network's guests are answered. Raises OSError."""
        port = self._ports.get(network_id)
        if network_id in self._runners and port is not None:
            return port
        async with self._lock:
            if network_id in self._runners:
                return self._ports[network_id]
            runner, port = await self._open(network_id, self._ports.get(network_id, 0))
            self._runners[network_id] = runner
            if self._ports.get(network_id) != port:
                self._ports[network_id] = port
                await self._save()
            log.info("metadata listener open", extra={"network": network_id, "port": port})
            return port

    async def keep_only(self, network_ids: frozenset[NetworkId]) -> None:
        """Closes the listeners of other networks and forgets their ports."""
        async with self._lock:
            gone = [known for known in {*self._ports, *self._runners} if known not in network_ids]
            for network_id in gone:
                runner = self._runners.pop(network_id, None)
                if runner is not None:
                    await runner.cleanup()
                self._ports.pop(network_id, None)
            if gone:
                await self._save()

    async def close(self) -> None:
        """Stops answering; ports stay remembered."""
        async with self._lock:
            for runner in self._runners.values():
                await runner.cleanup()
            self._runners.clear()

    async def _open(self, network_id: NetworkId, port: int) -> tuple[Listener, int]:
        # an HTTP server's modules, read when the first network is there: a host can be given servers before
        listener = await asyncio.to_thread(import_module, "fabric.compute.metadata.listener")
        runner: Listener = await listener.listen(
            lambda address: self._lookup(network_id, address), network_id, self._address, port
        )
        return runner, int(runner.addresses[0][1])

    async def _save(self) -> None:
        await save_json(self._file, dict(self._ports))


def _read_ports(file: Path) -> dict[NetworkId, int]:
    with contextlib.suppress(ValueError):
        saved = read_json(file) or {}
        return {
            NetworkId(network_id): port
            for network_id, port in saved.items()
            if isinstance(port, int) and 0 < port < 65_536
        }
    log.warning("metadata ports are forgotten: file is damaged", extra={"file": str(file)})
    return {}
