"""Image bytes, content-addressed. On this node's disk; peers fetch over the mesh."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoredBlob:
    sha256: str
    md5: str
    sha512: str
    size_bytes: int


class BlobStore(Protocol):
    async def put(self, chunks: AsyncIterator[bytes], *, limit_bytes: int) -> StoredBlob:
        """Streams to disk, hashes on the way, keeps nothing half-written.

        Raises: BlobTooLargeError, OSError (disk full). Nothing stays behind then.
        """
        ...

    def get(
        self, sha256: str, *, offset: int = 0, length: int | None = None, chunk_bytes: int = 256 * 1024
    ) -> AsyncIterator[bytes]:
        """Raises BlobNotFoundError on first use when the blob is not here."""
        ...

    async def path(self, sha256: str) -> str | None:
        """The file that holds it, None when absent."""
        ...

    async def delete(self, sha256: str) -> None: ...


class BlobNotFoundError(Exception):
    pass


class BlobTooLargeError(Exception):
    pass
