"""Guests on their way to this host. What is prepared is on disk: the agent's next life goes on with it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import secrets
from dataclasses import dataclass
from pathlib import Path

from drivers.contract import DomainSpec, Pipe, Power
from drivers.libvirt.connection import Connection
from drivers.libvirt.disks import ServerDirectory, ensure_files, read_mark, remove, write_mark
from drivers.libvirt.domain_xml import domain_name
from drivers.libvirt.doors import (
    DISKS,
    DOORS,
    LIBVIRT,
    MEMORY,
    PIPES_MAX,
    Sockets,
    connect,
    daemon_socket,
    join,
)
from drivers.libvirt.migration_xml import check_incoming
from drivers.libvirt.rpc_gate import Expected, RpcGate
from proto.errors import DriverError
from proto.ids import ServerId

DESTROY_TRIES_MAX = 5


@dataclass(frozen=True, slots=True)
class Landing:
    """What the source has to know."""

    domain: str  # as this host would define it
    token: str  # of the sockets

    def encode(self) -> bytes:
        return json.dumps({"domain": self.domain, "sockets": self.token}).encode()

    @classmethod
    def decode(cls, data: bytes) -> Landing:
        """Raises DriverError."""
        try:
            value = json.loads(data)
            domain, token = value["domain"], value["sockets"]
        except (ValueError, KeyError, TypeError) as error:
            raise DriverError("the other host's driver is of another kind") from error
        if not isinstance(domain, str) or not isinstance(token, str):
            raise DriverError("the other host's driver is of another kind")
        return cls(domain, token)


class Arrivals:
    """All but `serve` are called with the server's lock held."""

    def __init__(self, connection: Connection, uri: str, host_root: Path) -> None:
        self._connection, self._uri, self._host_root = connection, uri, host_root
        self.qemu_owner: tuple[int, int] | None = None  # user and group, once the driver is open
        self._pipes: dict[ServerId, set[Pipe]] = {}

    async def prepare(self, where: ServerDirectory, spec: DomainSpec, domain: str) -> bytes:
        name = domain_name(spec.server_id)
        daemon_socket(self._uri, self._host_root)
        await self._check_room(where, name)
        self._close_pipes(where.server_id)
        await self._remove_half(where, name)
        landing = Landing(domain, secrets.token_hex(8))
        await asyncio.to_thread(write_mark, where.arriving, landing.encode())
        await asyncio.to_thread(_clear, where)
        await ensure_files(where, dataclasses.replace(spec, has_booted=False))
        await asyncio.to_thread(self._sockets(landing).make)
        return landing.encode()

    async def serve(self, where: ServerDirectory, door: str, pipe: Pipe) -> None:
        pipes = self._pipes.setdefault(where.server_id, set())
        try:
            if door not in DOORS or len(pipes) >= PIPES_MAX:
                raise DriverError(f"server {where.server_id}: no such door, or too many are open")
            pipes.add(pipe)
            mark = await asyncio.to_thread(read_mark, where.arriving)
            if mark is None:
                raise DriverError(f"server {where.server_id}: nothing is prepared here")
            sockets = self._sockets(Landing.decode(mark))
            if door == LIBVIRT:
                gate = self._gate(where, Landing.decode(mark), sockets)
                reader, writer = await connect(daemon_socket(self._uri, self._host_root))
                await join(pipe, reader, writer, gate.feed)
            else:
                reader, writer = await connect(sockets.path(door))
                await join(pipe, reader, writer)
        finally:
            pipe.close()
            pipes.discard(pipe)
            if not pipes and self._pipes.get(where.server_id) is pipes:
                del self._pipes[where.server_id]

    async def finish(self, where: ServerDirectory) -> None:
        name = domain_name(where.server_id)
        has_arrived = await self._connection.is_lasting(name)
        if not has_arrived or await self._connection.power(name) is Power.PAUSED:  # all but
            raise DriverError(f"the guest of server {where.server_id} has not arrived")
        await self.settle(where)

    async def settle(self, where: ServerDirectory) -> None:
        """Forgets the preparations of a guest that has arrived."""
        mark = await asyncio.to_thread(read_mark, where.arriving)
        if mark is None:
            return
        self._close_pipes(where.server_id)
        await asyncio.to_thread(self._sockets(Landing.decode(mark)).remove)
        where.arriving.unlink(missing_ok=True)

    async def cancel(self, where: ServerDirectory) -> None:
        """Pipes go first: a source that is not told that the guest has arrived resumes it. So whatever lasts
        then was told, or nobody knows."""
        self._close_pipes(where.server_id)
        name = domain_name(where.server_id)
        if not where.arriving.exists() or await self._connection.is_lasting(name):
            return
        await self._remove_half(where, name)
        await asyncio.to_thread(_clear, where)
        await asyncio.to_thread(remove, where)

    async def _check_room(self, where: ServerDirectory, name: str) -> None:
        has_domain = await self._connection.power(name) is not None
        if has_domain and (not where.arriving.exists() or await self._connection.is_lasting(name)):
            raise DriverError(f"server {where.server_id} has a domain here already")
        if where.root.exists() and not (where.arriving.exists() or where.leaving.exists()):
            raise DriverError(f"server {where.server_id} has a disk here already")

    async def _remove_half(self, where: ServerDirectory, name: str) -> None:
        """The domain of an attempt that failed, and its sockets; libvirtd may have been quicker."""
        for _ in range(DESTROY_TRIES_MAX):
            if await self._connection.power(name) is None:
                break
            await self._connection.destroy(name)
            await self._connection.undefine(name)
        self._connection.forget(where.server_id)
        mark = await asyncio.to_thread(read_mark, where.arriving)
        if mark is not None:
            await asyncio.to_thread(self._sockets(Landing.decode(mark)).remove)

    def _close_pipes(self, server_id: ServerId) -> None:
        for pipe in tuple(self._pipes.get(server_id, ())):
            pipe.close()

    def _sockets(self, landing: Landing) -> Sockets:
        return Sockets(landing.token, self._host_root, self.qemu_owner)

    def _gate(self, where: ServerDirectory, landing: Landing, sockets: Sockets) -> RpcGate:
        expected = Expected(
            domain_name=domain_name(where.server_id),
            memory_uri="unix://" + sockets.name(MEMORY),
            disks_uri="unix://" + sockets.name(DISKS),
            check_domain=lambda xml: check_incoming(xml, landing.domain),
        )
        return RpcGate(expected)


def _clear(where: ServerDirectory) -> None:
    """No file is left but the mark that says so: without it a half-copied disk would pass for a whole one.
    Raises DriverError."""
    try:
        for path in where.path.iterdir():
            if path != where.arriving:
                path.unlink()
    except OSError as error:
        raise DriverError(f"cannot clear {where.path}: {error.strerror}") from error
