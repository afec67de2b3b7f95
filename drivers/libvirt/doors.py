"""UNIX sockets joined to pipes: how libvirt and QEMU of two hosts speak to each other through our callers.

The same names are used on both hosts: at the source we listen where libvirt and QEMU think the destination
is, at the destination QEMU listens, and libvirtd where it always does. No port is opened anywhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from drivers.contract import OtherHost, Pipe
from proto.errors import DriverError

LIBVIRT, MEMORY, DISKS = "libvirt", "memory", "disks"
DOORS = (LIBVIRT, MEMORY, DISKS)
SOCKETS_DIRECTORY = Path("/run/fabric-migration")
PIPES_MAX = 16  # of one migration: libvirt's, memory's, and one or two a disk
CHUNK_BYTES = 256 * 1024
_TOKEN = re.compile(r"[0-9a-f]{16}")
_DAEMONS = ("libvirt-sock", "virtqemud-sock")

Look = Callable[[bytes], bytes]  # what of it may pass now; raises DriverError


@dataclass(frozen=True, slots=True)
class Sockets:
    """One migration's sockets, in a directory that only we and QEMU may enter."""

    token: str  # 16 hex digits
    host_root: Path  # where the hypervisor's file system is, as we see it
    owner: tuple[int, int] | None  # QEMU's user and group; None: ours

    def __post_init__(self) -> None:
        if not _TOKEN.fullmatch(self.token):
            raise DriverError("a migration's sockets have no such name")

    @property
    def directory(self) -> Path:
        return self.host_root / SOCKETS_DIRECTORY.relative_to("/") / self.token

    def path(self, door: str) -> Path:
        """As we reach it."""
        return self.directory / door

    def name(self, door: str) -> str:
        """As libvirt and QEMU are told."""
        return str(SOCKETS_DIRECTORY / self.token / door)

    def make(self) -> None:
        """The directory, empty. Raises DriverError."""
        try:
            self.directory.parent.mkdir(mode=0o711, exist_ok=True)
            self.directory.parent.chmod(0o711)
            self.directory.mkdir(mode=0o700, exist_ok=True)
            for path in self.directory.iterdir():
                path.unlink()
            self.give(self.directory)
        except OSError as error:
            raise DriverError(f"cannot make {self.directory}: {error.strerror}") from error

    def give(self, path: Path) -> None:
        """Raises OSError."""
        if self.owner is not None and os.geteuid() == 0:
            os.chown(path, *self.owner)

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            for path in self.directory.iterdir():
                path.unlink()
            self.directory.rmdir()


def daemon_socket(uri: str, host_root: Path) -> Path:
    """Where the libvirtd at `uri` listens, as we reach it. Raises DriverError for one on another machine."""
    parts = urlsplit(uri)
    named = parse_qs(parts.query).get("socket")
    if named:
        return Path(named[0])
    if parts.netloc or parts.path != "/system":
        raise DriverError(f"guests cannot migrate to the libvirt at {uri}: it has no socket on this host")
    places = [host_root / "run/libvirt" / name for name in _DAEMONS]
    return next((path for path in places if path.is_socket()), places[0])


class SourceDoors:
    """Listens for this host's libvirt and QEMU; each connection becomes a pipe to the other host."""

    def __init__(self, sockets: Sockets, other: OtherHost) -> None:
        self._sockets, self._other = sockets, other
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Raises DriverError."""
        try:
            for door in DOORS:
                server = await asyncio.start_unix_server(
                    lambda reader, writer, door=door: self._accept(door, reader, writer),  # type: ignore[misc]
                    str(self._sockets.path(door)),
                    limit=CHUNK_BYTES,
                )
                self._servers.append(server)
                self._sockets.give(self._sockets.path(door))
        except OSError as error:
            raise DriverError(f"cannot listen in {self._sockets.directory}: {error}") from error

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _accept(self, door: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= PIPES_MAX:
            writer.close()
            return
        task = asyncio.get_running_loop().create_task(self._serve(door, reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, door: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            pipe = await self._other.connect(door)
        except ConnectionError:
            writer.transport.abort()
            return
        await join(pipe, reader, writer)


async def connect(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Raises DriverError: nobody listens."""
    try:
        return await asyncio.open_unix_connection(str(path), limit=CHUNK_BYTES)
    except OSError as error:
        raise DriverError(f"cannot connect to {path.name}: {error.strerror}") from error


async def join(
    pipe: Pipe, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, look: Look | None = None
) -> None:
    """Carries bytes both ways until both have ended or one is broken; then both are closed. `look` sees what
    comes from the pipe. Raises DriverError: `look`'s."""

    async def out() -> None:
        while data := await reader.read(CHUNK_BYTES):
            await pipe.write(data)
        await pipe.write_eof()

    async def back() -> None:
        while data := await pipe.read():
            passed = data if look is None else look(data)
            if passed:
                writer.write(passed)
                await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(out())
            group.create_task(back())
    except* OSError:
        writer.transport.abort()  # broken at one end: the other learns it by being closed
    except* DriverError as refused:
        writer.transport.abort()
        raise refused.exceptions[0] from None
    finally:
        pipe.close()
        writer.close()
