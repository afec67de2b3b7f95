"""The disks of a server that leaves this host, for the host that it goes to and for nobody else.

`disk.list {server_id}` says what there is; `disk.read {server_id, name}` streams one. A chunk is an offset of
eight bytes, big-endian, and data; holes are not sent. The last one is the disk's length and no data.
`disk.base {server_id}` says what the root disk is built on: also of one that goes while it runs, whose disks
take another way.
"""

from __future__ import annotations

import asyncio
import errno
import os
import struct
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from drivers.contract import ComputeDriver, DiskFile
from fabric.compute.assignments import Assignments
from fabric.compute.notes import Notes
from fabric.errors import Outcome, RemoteError
from fabric.mesh.rpc_contract import Rpc
from proto.codec import Plain
from proto.errors import DriverError
from proto.ids import NodeId, ServerId, is_uuid

DISK_BASE = "disk.base"
DISK_LIST = "disk.list"
DISK_READ = "disk.read"
CHUNK_BYTES = 256 * 1024  # as of images
OFFSET = struct.Struct(">Q")
BASE = "base"  # what the root disk is built on, for a host whose fabric has lost that image


class DiskService:
    """Serves them. What a sender may read is in this host's own assignments."""

    def __init__(self, rpc: Rpc, assignments: Assignments, driver: ComputeDriver, notes: Notes) -> None:
        self._assignments = assignments
        self._driver = driver
        self._notes = notes
        rpc.serve(DISK_BASE, self._base)
        rpc.serve(DISK_LIST, self._list)
        rpc.serve_stream(DISK_READ, self._read)

    async def _list(self, sender: NodeId, body: Mapping[str, Plain]) -> Plain:
        """`{disks: [{name, size_bytes}]}`."""
        disks = await self._disks(self._need_leave(sender, body))
        found: list[Plain] = [{"name": disk.name, "size_bytes": disk.size_bytes} for disk in disks]
        return {"disks": found}

    async def _base(self, sender: NodeId, body: Mapping[str, Plain]) -> Plain:
        """`{base_sha256, base_format, has_kernel}`; "" where nobody knows. `has_kernel`: its kernel is an
        image of its own, which does not go along."""
        boot = (await self._notes.read(self._need_leave(sender, body, base_only=True))).boot
        return {
            "base_sha256": "" if boot is None else Path(boot.base_path).name,
            "base_format": "" if boot is None else boot.base_format,
            "has_kernel": boot is not None and boot.kernel_path is not None,
        }

    async def _read(self, sender: NodeId, body: Mapping[str, Plain]) -> AsyncIterator[bytes]:
        name = body.get("name")
        server_id = self._need_leave(sender, body, base_only=name == BASE)
        path = await self._path(server_id, name)
        try:
            file = await asyncio.to_thread(open, path, "rb", 0)
        except OSError as error:
            raise _unreadable(error) from error
        try:
            chunks = _chunks(file)
            while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
                yield chunk
        except OSError as error:
            raise _unreadable(error) from error
        finally:
            await asyncio.to_thread(file.close)

    async def _path(self, server_id: ServerId, name: Plain) -> str:
        if name == BASE:
            boot = (await self._notes.read(server_id)).boot
            if boot is not None:
                return boot.base_path
        for disk in await self._disks(server_id):
            if disk.name == name:
                return disk.path
        raise RemoteError("fabric.disk.not_found", "the server has no such disk here", Outcome.NOT_DONE)

    async def _disks(self, server_id: ServerId) -> tuple[DiskFile, ...]:
        try:
            return await self._driver.disks(server_id)
        except DriverError as error:
            raise RemoteError("fabric.driver", str(error), Outcome.NOT_DONE) from error

    def _need_leave(self, sender: NodeId, body: Mapping[str, Plain], *, base_only: bool = False) -> ServerId:
        server_id = body.get("server_id")
        if not isinstance(server_id, str) or not is_uuid(server_id):
            raise RemoteError("fabric.disk.invalid", "server_id must be a UUID", Outcome.NOT_DONE)
        goes_to = self._assignments.parked.get(ServerId(server_id))
        if base_only and goes_to is None:
            goes_to = self._assignments.goes_live_to(ServerId(server_id))
        if goes_to != sender:
            # Also while this host has not heard yet: whoever asks tries again.
            raise RemoteError("fabric.disk.forbidden", "That server does not go to you.", Outcome.NOT_DONE)
        return ServerId(server_id)


def _unreadable(error: OSError) -> RemoteError:
    return RemoteError("fabric.disk.unreadable", f"disk not readable: {error.strerror}", Outcome.NOT_DONE)


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    """Blocks: call it in a thread."""
    descriptor = file.fileno()
    size = os.fstat(descriptor).st_size
    for start, end in _extents(descriptor, size):
        at = start
        while at < end and (data := os.pread(descriptor, min(CHUNK_BYTES, end - at), at)):
            yield OFFSET.pack(at) + data
            at += len(data)
    yield OFFSET.pack(size)


def _extents(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """Where there is data; the whole file, where its file system cannot tell holes."""
    at = 0
    while at < size:
        try:
            start = os.lseek(descriptor, at, os.SEEK_DATA)
            end = os.lseek(descriptor, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno != errno.ENXIO:  # that one: only a hole is left
                yield at, size
            return
        yield start, end
        at = end
