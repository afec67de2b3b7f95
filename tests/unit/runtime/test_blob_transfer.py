"""Blobs between nodes: nothing enters a store but what was asked for."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from fabric.errors import DeadlineExceededError, RemoteError
from fabric.mesh.rpc_contract import Handler, StreamHandler
from fabric.runtime.blob_store import FileBlobStore
from fabric.runtime.blob_transfer import BlobCorruptError, BlobFetcher, serve_blobs
from fabric.runtime.blobs import BlobNotFoundError
from proto.codec import Plain
from proto.ids import NodeId

DATA = b"image bytes" * 100_000
SHA256 = hashlib.sha256(DATA).hexdigest()
ME, PEER = NodeId("a" * 32), NodeId("b" * 32)


class DirectRpc:
    """Calls the peer's handlers without a wire, and counts streams."""

    def __init__(self) -> None:
        self.streams = 0
        self._handlers: dict[str, StreamHandler] = {}

    def serve(self, method: str, handler: Handler) -> None:
        raise NotImplementedError

    def unserve(self, method: str) -> None:
        raise NotImplementedError

    def serve_stream(self, method: str, handler: StreamHandler) -> None:
        self._handlers[method] = handler

    async def call(self, to: NodeId, method: str, body: Mapping[str, Plain], *, timeout_ms: int) -> Plain:
        raise NotImplementedError

    async def stream(
        self, to: NodeId, method: str, body: Mapping[str, Plain], *, timeout_ms: int
    ) -> AsyncIterator[bytes]:
        self.streams += 1
        async for chunk in self._handlers[method](ME, body):
            try:
                async with asyncio.timeout(timeout_ms / 1000):
                    await asyncio.sleep(0)
            except TimeoutError as error:
                raise DeadlineExceededError from error
            yield chunk


async def one_chunk(data: bytes) -> AsyncIterator[bytes]:
    yield data


@pytest.fixture
async def holder(tmp_path: Path) -> FileBlobStore:
    store = FileBlobStore(tmp_path / "holder")
    await store.put(one_chunk(DATA), limit_bytes=len(DATA))
    return store


@pytest.fixture
def mine(tmp_path: Path) -> FileBlobStore:
    return FileBlobStore(tmp_path / "mine")


async def test_fetch_brings_the_blob(holder: FileBlobStore, mine: FileBlobStore) -> None:
    rpc = DirectRpc()
    serve_blobs(rpc, holder)
    path = await BlobFetcher(rpc, mine).fetch(SHA256, len(DATA), PEER)
    assert Path(path).read_bytes() == DATA
    assert path == await mine.path(SHA256)


async def test_fetch_of_what_is_here_asks_nobody(holder: FileBlobStore) -> None:
    rpc = DirectRpc()
    await BlobFetcher(rpc, holder).fetch(SHA256, len(DATA), PEER)
    assert rpc.streams == 0


async def test_concurrent_fetches_share_one_transfer(holder: FileBlobStore, mine: FileBlobStore) -> None:
    rpc = DirectRpc()
    serve_blobs(rpc, holder)
    fetcher = BlobFetcher(rpc, mine)
    paths = await asyncio.gather(*(fetcher.fetch(SHA256, len(DATA), PEER) for _ in range(5)))
    assert len(set(paths)) == 1
    assert rpc.streams == 1


class CountingStore(FileBlobStore):
    """Tells how many fetches have looked here and so, in the same step, joined a transfer."""

    looks = 0

    async def path(self, sha256: str) -> str | None:
        found = await super().path(sha256)
        self.looks += 1
        return found


async def test_one_waiter_leaving_does_not_stop_the_others(holder: FileBlobStore, tmp_path: Path) -> None:
    rpc, go = DirectRpc(), asyncio.Event()

    async def wait_and_send(sender: NodeId, body: Mapping[str, Plain]) -> AsyncIterator[bytes]:
        await go.wait()
        yield DATA

    rpc.serve_stream("image.fetch", wait_and_send)
    mine = CountingStore(tmp_path / "mine")
    fetcher = BlobFetcher(rpc, mine)
    leaver = asyncio.create_task(fetcher.fetch(SHA256, len(DATA), PEER))
    stayer = asyncio.create_task(fetcher.fetch(SHA256, len(DATA), PEER))
    while mine.looks < 2:
        await asyncio.sleep(0)
    leaver.cancel()
    go.set()
    assert Path(await stayer).read_bytes() == DATA
    assert rpc.streams == 1


async def test_last_waiter_leaving_stops_the_transfer(tmp_path: Path, mine: FileBlobStore) -> None:
    rpc, has_started = DirectRpc(), asyncio.Event()

    async def stall(sender: NodeId, body: Mapping[str, Plain]) -> AsyncIterator[bytes]:
        yield b"first"
        has_started.set()
        await asyncio.Event().wait()

    rpc.serve_stream("image.fetch", stall)
    task = asyncio.create_task(BlobFetcher(rpc, mine).fetch(SHA256, len(DATA), PEER))
    await has_started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    while any((tmp_path / "mine" / "incoming").iterdir()):  # bounded by the test's own timeout
        await asyncio.sleep(0.001)


async def test_a_fetch_after_an_abandoned_one_starts_anew(holder: FileBlobStore, mine: FileBlobStore) -> None:
    rpc = DirectRpc()
    serve_blobs(rpc, holder)
    fetcher = BlobFetcher(rpc, mine)
    task = asyncio.create_task(fetcher.fetch(SHA256, len(DATA), PEER))
    while rpc.streams == 0:
        await asyncio.sleep(0)
    task.cancel()
    path = await fetcher.fetch(SHA256, len(DATA), PEER)
    assert Path(path).read_bytes() == DATA


@pytest.mark.parametrize("sent", [b"x" * len(DATA), DATA + b"more", DATA[:-1], b""])
async def test_other_bytes_are_refused_and_not_kept(tmp_path: Path, mine: FileBlobStore, sent: bytes) -> None:
    rpc = DirectRpc()

    async def lie(sender: NodeId, body: Mapping[str, Plain]) -> AsyncIterator[bytes]:
        yield sent

    rpc.serve_stream("image.fetch", lie)
    with pytest.raises(BlobCorruptError):
        await BlobFetcher(rpc, mine).fetch(SHA256, len(DATA), PEER)
    assert [path for path in (tmp_path / "mine").rglob("*") if path.is_file()] == []


async def test_a_holder_without_the_blob_says_so(mine: FileBlobStore, tmp_path: Path) -> None:
    rpc = DirectRpc()
    serve_blobs(rpc, FileBlobStore(tmp_path / "empty"))
    with pytest.raises(RemoteError) as caught:
        await BlobFetcher(rpc, mine).fetch(SHA256, len(DATA), PEER)
    assert caught.value.remote_code == "fabric.blob.not_found"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"sha256": 7},
        {"sha256": "../../etc/passwd"},
        {"sha256": SHA256.upper()},
        {"sha256": SHA256, "offset": -1},
        {"sha256": SHA256, "offset": "0"},
        {"sha256": SHA256, "offset": True},
    ],
)
async def test_only_content_addresses_are_served(holder: FileBlobStore, body: dict[str, Plain]) -> None:
    rpc = DirectRpc()
    serve_blobs(rpc, holder)
    with pytest.raises(RemoteError) as caught:
        async for _ in rpc.stream(PEER, "image.fetch", body, timeout_ms=1_000):
            pass
    assert caught.value.remote_code == "fabric.blob.invalid"


async def test_a_name_that_is_no_address_is_not_asked_for(mine: FileBlobStore) -> None:
    with pytest.raises(BlobNotFoundError):
        await BlobFetcher(DirectRpc(), mine).fetch("../../etc/passwd", 1, PEER)
