"""The root disk of a server that is being shelved becomes an image in this node's blob store.

Done again, it gives the same bytes or others; what no image names is swept from the store.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from drivers.contract import ComputeDriver
from fabric.compute.build_server import step
from fabric.runtime.blobs import StoredBlob
from proto.ids import ServerId

CHUNK_BYTES = 1 << 20


class KeepBlob(Protocol):
    """`BlobStore.put`."""

    async def __call__(self, chunks: AsyncIterator[bytes], *, limit_bytes: int) -> StoredBlob: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedRoot:
    blob: StoredBlob
    virtual_bytes: int  # as large as its guest sees it


class RootSaver:
    def __init__(self, driver: ComputeDriver, keep: KeepBlob, directory: Path) -> None:
        """`directory` is for copies under way; what an earlier life left there goes."""
        self._driver = driver
        self._keep = keep
        self._directory = directory
        shutil.rmtree(directory, ignore_errors=True)

    async def save(self, server_id: ServerId) -> SavedRoot:
        """The guest must be off. Raises StepFailedError."""
        copy = self._directory / f"{server_id}-{secrets.token_hex(4)}.qcow2"
        async with step("image"):
            await asyncio.to_thread(self._directory.mkdir, mode=0o700, exist_ok=True)
            try:
                virtual_bytes = await self._driver.export_root(server_id, copy)
                size_bytes = (await asyncio.to_thread(copy.stat)).st_size
                blob = await self._keep(_chunks(copy), limit_bytes=size_bytes)
            finally:
                await asyncio.to_thread(copy.unlink, missing_ok=True)
        return SavedRoot(blob=blob, virtual_bytes=virtual_bytes)


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    file = await asyncio.to_thread(path.open, "rb")
    try:
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield chunk
    finally:
        file.close()  # read only: nothing to flush, nothing to wait for
