"""Image bytes on this node's disk, one file for each content address.

Theory of operation. A blob is written to `incoming/<random>` while it is hashed, made durable (fsync of
the file), and renamed to `<2 hex>/<sha256>`; then the directory is made durable. The rename is the only
way into the tree, so a file under its final name is whole whatever crashed. What a crash leaves lies in
`incoming/` and is removed when the store is opened. Blobs never change, so readers need no lock: a
deletion under an open reader leaves the reader its file (POSIX unlink).

Hashing and file I/O run in threads: the loop only hands chunks over.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import re
import secrets
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

from fabric.runtime.blobs import BlobMismatchError, BlobNotFoundError, BlobTooLargeError, StoredBlob
from fabric.store.files import fsync_directory

log = logging.getLogger(__name__)

BATCH_BYTES = 512 * 1024  # handed to a thread at once: a hop costs ~50 us, hashing it ~4 ms
READ_CHUNK_BYTES_MAX = 4 * 1024 * 1024
WRITERS_MAX = 64  # at once, slow clients included; each holds at most two batches in memory
_SHA256 = re.compile(r"[0-9a-f]{64}")


def is_content_address(text: str) -> bool:
    """Sixty-four lower-case hex digits, and so never a path out of the store."""
    return _SHA256.fullmatch(text) is not None


class FileBlobStore:
    """Implements `fabric.runtime.blobs.BlobStore`. One process owns a directory at a time.

    Opening creates the directory (mode 0700) and removes what a crash left half-written.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._incoming = directory / "incoming"
        self._writers = asyncio.Semaphore(WRITERS_MAX)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        self._incoming.mkdir(mode=0o700, exist_ok=True)
        leftovers = list(self._incoming.iterdir())
        for leftover in leftovers:
            leftover.unlink()
        if leftovers:
            log.info("removed half-written blobs", extra={"count": len(leftovers)})

    async def put(
        self, chunks: AsyncIterator[bytes], *, limit_bytes: int, expected_sha256: str | None = None
    ) -> StoredBlob:
        """See the contract. The same bytes twice are one file; the second write replaces it by itself."""
        async with self._writers:
            writing = _Writing(self._incoming)
            try:
                batch: list[bytes] = []
                batch_bytes, total = 0, 0
                async for chunk in chunks:
                    total += len(chunk)
                    if total > limit_bytes:
                        raise BlobTooLargeError(f"more than {limit_bytes} bytes")
                    batch.append(chunk)
                    batch_bytes += len(chunk)
                    if batch_bytes >= BATCH_BYTES:
                        await asyncio.to_thread(writing.write, tuple(batch))
                        batch, batch_bytes = [], 0
                await asyncio.to_thread(writing.write, tuple(batch))
                return await asyncio.to_thread(writing.commit, self._directory, expected_sha256)
            except BaseException:  # also a client that went away in the middle: CancelledError
                await asyncio.to_thread(writing.discard)
                raise

    async def get(
        self, sha256: str, *, offset: int = 0, length: int | None = None, chunk_bytes: int = 256 * 1024
    ) -> AsyncIterator[bytes]:
        """See the contract. Ends early at the end of the blob; `chunk_bytes` is capped."""
        chunk_bytes = max(1, min(chunk_bytes, READ_CHUNK_BYTES_MAX))
        file = await asyncio.to_thread(self._open, sha256, offset)
        try:
            left = length
            while left is None or left > 0:
                wanted = chunk_bytes if left is None else min(chunk_bytes, left)
                chunk = await asyncio.to_thread(file.read, wanted)
                if not chunk:
                    return
                if left is not None:
                    left -= len(chunk)
                yield chunk
        finally:
            file.close()  # a read-only file: nothing to flush, nothing to wait for

    async def path(self, sha256: str) -> str | None:
        if not is_content_address(sha256):
            return None
        final = self._final(sha256)
        return str(final) if await asyncio.to_thread(final.is_file) else None

    async def delete(self, sha256: str) -> None:
        """Idempotent: an absent blob is fine."""
        if is_content_address(sha256):
            await asyncio.to_thread(self._final(sha256).unlink, missing_ok=True)

    async def sweep(self, in_use: frozenset[str], *, unused_s: int) -> tuple[str, ...]:
        """Deletes blobs that no image names (`BlobsInUse`) and that were written over `unused_s` seconds
        ago: a younger one may belong to an upload whose record is still being made. Returns them, sorted.
        """
        return await asyncio.to_thread(self._sweep, in_use, unused_s)

    def _sweep(self, in_use: frozenset[str], unused_s: int) -> tuple[str, ...]:
        gone = []
        for path in sorted(self._directory.glob("[0-9a-f][0-9a-f]/*")):
            if not is_content_address(path.name) or path.name in in_use:
                continue
            if path.stat().st_mtime <= time.time() - unused_s:
                path.unlink(missing_ok=True)
                gone.append(path.name)
        return tuple(gone)

    def _final(self, sha256: str) -> Path:
        assert is_content_address(sha256)
        return self._directory / sha256[:2] / sha256

    def _open(self, sha256: str, offset: int) -> BinaryIO:
        if not is_content_address(sha256):
            raise BlobNotFoundError(sha256[:64])
        try:
            file = self._final(sha256).open("rb")
        except FileNotFoundError as error:
            raise BlobNotFoundError(sha256) from error
        file.seek(max(0, offset))
        return file


class _Writing:
    """One blob on its way in. Its methods run in threads, one at a time, and may be abandoned by a
    cancelled caller: the lock makes `discard` wait for a write still under way."""

    def __init__(self, incoming: Path) -> None:
        self._path = incoming / secrets.token_hex(16)
        self._file = os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        self._hashes = (hashlib.sha256(), hashlib.md5(usedforsecurity=False), hashlib.sha512())
        self._size_bytes = 0
        self._lock = threading.Lock()
        self._is_open = True

    def write(self, chunks: tuple[bytes, ...]) -> None:
        """Raises OSError (disk full)."""
        with self._lock:
            if not self._is_open:
                return
            for chunk in chunks:
                self._file.write(chunk)
                self._size_bytes += len(chunk)
                for one in self._hashes:
                    one.update(chunk)

    def commit(self, directory: Path, expected_sha256: str | None) -> StoredBlob:
        """Durable under its final name when it returns. Raises BlobMismatchError, OSError."""
        with self._lock:
            sha256, md5, sha512 = (one.hexdigest() for one in self._hashes)
            if expected_sha256 is not None and sha256 != expected_sha256:
                raise BlobMismatchError(f"{self._size_bytes} bytes of hash {sha256}")
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            shelf = directory / sha256[:2]
            if not shelf.is_dir():
                shelf.mkdir(mode=0o700, exist_ok=True)
                fsync_directory(directory)
            self._path.rename(shelf / sha256)
            self._is_open = False
            fsync_directory(shelf)
            return StoredBlob(sha256=sha256, md5=md5, sha512=sha512, size_bytes=self._size_bytes)

    def discard(self) -> None:
        """Removes what was written, unless it was committed. Safe to call twice."""
        with self._lock:
            if not self._is_open:
                return
            self._is_open = False
            with contextlib.suppress(OSError):  # a full disk may refuse the last flush; the file goes anyway
                self._file.close()
            self._path.unlink(missing_ok=True)
