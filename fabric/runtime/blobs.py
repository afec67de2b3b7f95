"""Image bytes, content-addressed. On this node's disk; peers fetch over the mesh."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from proto.ids import NodeId


@dataclass(frozen=True, slots=True)
class StoredBlob:
    sha256: str
    md5: str
    sha512: str
    size_bytes: int


class BlobStore(Protocol):
    async def put(
        self, chunks: AsyncIterator[bytes], *, limit_bytes: int, expected_sha256: str | None = None
    ) -> StoredBlob:
        """Streams to disk, hashes on the way, keeps nothing half-written.

        Raises: BlobTooLargeError, BlobMismatchError (not the bytes of `expected_sha256`), OSError (disk
        full), and whatever `chunks` raises. Nothing stays behind then.
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


class BlobSource(Protocol):
    """Bytes that may be another node's: brought here first."""

    async def fetch(self, sha256: str, size_bytes: int, holder: NodeId) -> str:
        """The local file with that blob, fetched from `holder` unless it is here already.

        Raises: BlobNotFoundError, FabricError (peer unreachable, refused, or sent other bytes), OSError.
        """
        ...


class BlobNotFoundError(Exception):
    pass


class BlobTooLargeError(Exception):
    pass


class BlobMismatchError(Exception):
    """The bytes do not hash to what was asked for."""
