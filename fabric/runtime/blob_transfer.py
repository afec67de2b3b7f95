"""Blobs from node to node over the mesh: stream method `image.fetch {sha256, offset}`.

The receiver trusts nothing: a blob enters its store under the hash it computed itself, and only when
that is the hash asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping

from fabric.errors import FabricError, Outcome, RemoteError
from fabric.mesh.rpc_contract import Rpc
from fabric.runtime.blob_store import is_content_address
from fabric.runtime.blobs import BlobMismatchError, BlobNotFoundError, BlobStore, BlobTooLargeError
from proto.codec import Plain
from proto.ids import NodeId

IMAGE_FETCH = "image.fetch"
CHUNK_BYTES = 256 * 1024  # well under the codec's frame limit, and a credit's worth of the stream
CHUNK_TIMEOUT_MS = 15_000  # between chunks; a disk under load answers in well under a second
_OFFSET_MAX = 1 << 50


class BlobCorruptError(FabricError):
    """The holder sent other bytes than those asked for. Nothing was kept; ask another holder."""

    code = "fabric.blob.corrupt"
    outcome = Outcome.NOT_DONE


def serve_blobs(rpc: Rpc, store: BlobStore) -> None:
    """Answers `image.fetch` from `store`. Errors cross as RemoteError `fabric.blob.*`."""

    async def fetch(sender: NodeId, body: Mapping[str, Plain]) -> AsyncIterator[bytes]:
        sha256, offset = body.get("sha256"), body.get("offset", 0)
        if not isinstance(sha256, str) or not is_content_address(sha256):
            raise RemoteError("fabric.blob.invalid", "sha256 must be 64 hex digits", Outcome.NOT_DONE)
        if type(offset) is not int or not 0 <= offset <= _OFFSET_MAX:
            raise RemoteError("fabric.blob.invalid", "offset must be a byte count", Outcome.NOT_DONE)
        try:
            async for chunk in store.get(sha256, offset=offset, chunk_bytes=CHUNK_BYTES):
                yield chunk
        except BlobNotFoundError as error:
            raise RemoteError("fabric.blob.not_found", f"no blob {sha256} here", Outcome.NOT_DONE) from error

    rpc.serve_stream(IMAGE_FETCH, fetch)


class BlobFetcher:
    """Brings blobs to this node. Callers that want the same blob at once share one transfer; it goes on
    while any of them waits and is cancelled with the last."""

    def __init__(self, rpc: Rpc, store: BlobStore, *, chunk_timeout_ms: int = CHUNK_TIMEOUT_MS) -> None:
        self._rpc = rpc
        self._store = store
        self._chunk_timeout_ms = chunk_timeout_ms
        self._transfers: dict[str, _Transfer] = {}

    async def fetch(self, sha256: str, size_bytes: int, holder: NodeId) -> str:
        """The path of the local file with that blob, fetched from `holder` unless it is here already.

        Raises:
            BlobNotFoundError: `sha256` is not a content address.
            BlobCorruptError: other bytes came, or more or fewer.
            RemoteError (`fabric.blob.not_found`), PeerUnreachableError, DeadlineExceededError: not fetched.
            OSError: this node's disk.
        """
        path = await self._store.path(sha256)
        if path is not None:
            return path
        if not is_content_address(sha256):
            raise BlobNotFoundError(sha256[:64])
        transfer = self._transfers.get(sha256)
        if transfer is None or transfer.is_abandoned:
            transfer = _Transfer(asyncio.create_task(self._transfer(sha256, size_bytes, holder)))
            self._transfers[sha256] = transfer
            transfer.task.add_done_callback(self._forget(sha256, transfer))
        return await transfer.join()

    def _forget(self, sha256: str, transfer: _Transfer) -> Callable[[asyncio.Task[str]], None]:
        def forget(task: asyncio.Task[str]) -> None:
            if self._transfers.get(sha256) is transfer:
                del self._transfers[sha256]
            if not task.cancelled():
                task.exception()  # marks it as seen, should the last waiter have gone

        return forget

    async def _transfer(self, sha256: str, size_bytes: int, holder: NodeId) -> str:
        chunks = self._rpc.stream(
            holder, IMAGE_FETCH, {"sha256": sha256, "offset": 0}, timeout_ms=self._chunk_timeout_ms
        )
        try:
            await self._store.put(chunks, limit_bytes=size_bytes, expected_sha256=sha256)
        except (BlobTooLargeError, BlobMismatchError) as error:
            raise BlobCorruptError(f"node {holder} sent other bytes than blob {sha256}: {error}") from error
        finally:
            if isinstance(chunks, AsyncGenerator):  # tells the holder to stop when we gave up first
                await chunks.aclose()
        path = await self._store.path(sha256)
        assert path is not None, "a blob is where put() stored it"
        return path


class _Transfer:
    """One transfer and how many wait for it."""

    def __init__(self, task: asyncio.Task[str]) -> None:
        self.task = task
        self._waiters = 0
        self.is_abandoned = False  # cancelled with its last waiter, though it may still be ending

    async def join(self) -> str:
        self._waiters += 1
        try:
            return await asyncio.shield(self.task)
        except asyncio.CancelledError:
            if self._waiters == 1:
                self.is_abandoned = True
                self.task.cancel()
            raise
        finally:
            self._waiters -= 1
