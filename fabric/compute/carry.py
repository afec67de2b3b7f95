"""A server's disks, brought from the host that it left. See `disk_service.py` for the other side.

Whoever sends is a host like any other, which may be stolen: what comes is bounded by what it said before, and
a base image must have the hash that names it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drivers.contract import ComputeDriver, DomainSpec
from fabric.compute.disk_service import BASE, DISK_BASE, DISK_LIST, DISK_READ, OFFSET
from fabric.compute.errors import ImageError
from fabric.compute.image_cache import ImageCache
from fabric.compute.notes import BootFiles
from fabric.core.servers.model import AssignedServer
from fabric.errors import FabricError, Outcome, RemoteError
from fabric.mesh.rpc_contract import Rpc
from proto.ids import NodeId

DISKS = ("root", "ephemeral0", "swap")
FORMATS = ("qcow2", "raw")
SIZE_MAX = 1 << 50
LIST_TIMEOUT_MS = 10_000
CHUNK_TIMEOUT_MS = 15_000
ASK_AGAIN_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 10.0, 10.0)  # the other host may hear of the move after us
BASE_BYTES_MAX = 1 << 44


class DiskNotBroughtError(FabricError):
    """A disk did not come in whole. Nothing of it was kept."""

    code = "fabric.host.disk_not_brought"
    outcome = Outcome.NOT_DONE


@dataclass(frozen=True, slots=True, kw_only=True)
class _Base:
    sha256: str
    format: str
    has_kernel: bool


class DiskCarrier:
    def __init__(self, rpc: Rpc, driver: ComputeDriver, images: ImageCache) -> None:
        self._rpc = rpc
        self._driver = driver
        self._images = images

    async def bring(self, assigned: AssignedServer, spec: DomainSpec) -> None:
        """All its disks are here. Those that are stay as they are. Raises DiskNotBroughtError, RemoteError,
        PeerUnreachableError, DeadlineExceededError, DriverError, OSError."""
        source = _source(assigned)
        sizes = _sizes(await self._ask(source, DISK_LIST, assigned))
        for name in DISKS:
            if name in sizes:
                size = sizes[name]

                async def fill(path: Path, name: str = name, size: int = size) -> None:
                    await self._read(source, assigned, name, size, path)

                await self._driver.take_disk(spec, name, fill)

    async def base(self, assigned: AssignedServer) -> BootFiles | None:
        """What its root disk is built on, where that is not its image: because the fabric has none any more,
        or because it was shelved once. None: it is. Raises as `bring`, and ImageError where the other host
        cannot give it."""
        source, image = _source(assigned), assigned.image
        base = _base(await self._ask(source, DISK_BASE, assigned))
        if image is not None and base.sha256 in ("", image.sha256):
            return None
        if base.format not in FORMATS or (image is None and base.has_kernel):
            raise ImageError(
                f"image {assigned.server.image_id} does not exist any more, and the other host lacks it"
            )

        async def fill(path: Path) -> None:
            await self._read(source, assigned, BASE, BASE_BYTES_MAX, path)

        path = await self._images.take(base.sha256, fill)
        return BootFiles(base_path=path, base_format=base.format)

    async def _ask(self, source: NodeId, method: str, assigned: AssignedServer) -> Any:
        body = {"server_id": assigned.server.server_id}
        for wait_s in (*ASK_AGAIN_S, None):
            try:
                return await self._rpc.call(source, method, body, timeout_ms=LIST_TIMEOUT_MS)
            except RemoteError as error:
                if wait_s is None or error.remote_code != "fabric.disk.forbidden":
                    raise
            await asyncio.sleep(wait_s)
        raise AssertionError("unreachable")

    async def _read(
        self, source: NodeId, assigned: AssignedServer, name: str, limit: int, path: Path
    ) -> None:
        body = {"server_id": assigned.server.server_id, "name": name}
        chunks = self._rpc.stream(source, DISK_READ, body, timeout_ms=CHUNK_TIMEOUT_MS)
        file = await asyncio.to_thread(open, path, "r+b", 0)
        try:
            async for chunk in chunks:
                if len(chunk) < OFFSET.size:
                    raise DiskNotBroughtError(f"disk {name}: the other host sent a chunk without an offset")
                (at,) = OFFSET.unpack_from(chunk)
                if at + len(chunk) - OFFSET.size > limit:
                    raise DiskNotBroughtError(f"disk {name}: the other host sent more than {limit} bytes")
                if len(chunk) == OFFSET.size:
                    await asyncio.to_thread(file.truncate, at)
                    return
                await asyncio.to_thread(_write, file, at, memoryview(chunk)[OFFSET.size :])
        finally:
            if isinstance(chunks, AsyncGenerator):  # tells the sender to stop when we gave up first
                await chunks.aclose()
            await asyncio.to_thread(file.close)
        raise DiskNotBroughtError(f"disk {name}: it ended too soon")


def _source(assigned: AssignedServer) -> NodeId:
    if assigned.move is None:
        raise DiskNotBroughtError("its row says nothing of where it comes from")
    return assigned.move.source_host_id


def _sizes(answer: Any) -> Mapping[str, int]:
    """Bytes by name, as the other host said, checked. Raises DiskNotBroughtError."""
    try:
        sizes = {str(disk["name"]): disk["size_bytes"] for disk in answer["disks"]}
    except (KeyError, TypeError) as error:
        raise DiskNotBroughtError("the other host's list of disks cannot be read") from error
    if not all(type(size) is int and 0 <= size <= SIZE_MAX for size in sizes.values()):
        raise DiskNotBroughtError("the other host's list of disks cannot be read")
    if DISKS[0] not in sizes:
        raise DiskNotBroughtError("the other host has no root disk of it")
    return sizes


def _base(answer: Any) -> _Base:
    """As the other host said, checked. Raises DiskNotBroughtError."""
    try:
        sha256, kind, has_kernel = answer["base_sha256"], answer["base_format"], answer["has_kernel"]
    except (KeyError, TypeError) as error:
        raise DiskNotBroughtError("what the other host says of the disk's base cannot be read") from error
    if not (isinstance(sha256, str) and isinstance(kind, str) and isinstance(has_kernel, bool)):
        raise DiskNotBroughtError("what the other host says of the disk's base cannot be read")
    return _Base(sha256=sha256, format=kind, has_kernel=has_kernel)


def _write(file: Any, at: int, data: memoryview) -> None:
    file.seek(at)
    while data:
        data = data[file.write(data) :]
