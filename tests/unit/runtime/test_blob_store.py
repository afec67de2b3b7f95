"""The blob store keeps whole blobs under their true names, or nothing."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fabric.runtime.blob_store import BATCH_BYTES, FileBlobStore
from fabric.runtime.blobs import BlobMismatchError, BlobNotFoundError, BlobTooLargeError

DATA = b"some image bytes" * 1000
SHA256 = hashlib.sha256(DATA).hexdigest()


async def chunks_of(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def read(store: FileBlobStore, sha256: str, **how: int) -> bytes:
    return b"".join([chunk async for chunk in store.get(sha256, **how)])


def files_under(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


async def test_put_hashes_and_keeps_bytes(tmp_path: Path) -> None:
    store = FileBlobStore(tmp_path / "blobs")
    stored = await store.put(chunks_of(DATA), limit_bytes=len(DATA))
    assert stored.sha256 == SHA256
    assert stored.md5 == hashlib.md5(DATA).hexdigest()
    assert stored.sha512 == hashlib.sha512(DATA).hexdigest()
    assert stored.size_bytes == len(DATA)
    assert await read(store, SHA256) == DATA
    path = await store.path(SHA256)
    assert path is not None
    assert Path(path).read_bytes() == DATA


async def test_blobs_larger_than_a_batch_survive_whole(tmp_path: Path) -> None:
    store = FileBlobStore(tmp_path)
    data = os.urandom(2 * BATCH_BYTES + 17)
    stored = await store.put(chunks_of(data, 100_000), limit_bytes=1 << 30)
    assert await read(store, stored.sha256) == data


async def test_get_serves_ranges(tmp_path: Path) -> None:
    store = FileBlobStore(tmp_path)
    await store.put(chunks_of(DATA), limit_bytes=len(DATA))
    assert await read(store, SHA256, offset=5, length=100, chunk_bytes=7) == DATA[5:105]
    assert await read(store, SHA256, offset=len(DATA) - 3) == DATA[-3:]
    assert await read(store, SHA256, offset=len(DATA) + 3) == b""
    assert await read(store, SHA256, length=0) == b""


async def test_one_byte_too_many_keeps_nothing(tmp_path: Path) -> None:
    store = FileBlobStore(tmp_path)
    with pytest.raises(BlobTooLargeError):
        await store.put(chunks_of(DATA), limit_bytes=len(DATA) - 1)
    assert files_under(tmp_path) == []


async def test_wrong_hash_keeps_nothing(tmp_path: Path) -> None:
    store = FileBlobStore(tmp_path)
    with pytest.raises(BlobMismatchError):
        await store.put(chunks_of(DATA), limit_bytes=len(DATA), expected_sha256="0" * 64)
    assert files_under(tmp_path) == []


async def test_wrong_hash_leaves_an_equal_blob_alone(tmp_path: Path) -> None:
    store = FileBlobStore(tmp_path)
    await store.put(chunks_of(DATA), limit_bytes=len(DATA))
    with pytest.raises(BlobMismatchError):
        await store.put(chunks_of(DATA), limit_bytes=len(DATA), expected_sha256="0" * 64)
    assert await read(store, SHA256) == DATA


async def test_a_failing_source_keeps_nothing(tmp_path: Path) -> None:
    async def breaks() -> AsyncIterator[bytes]:
        yield DATA
        raise ConnectionResetError

    store = FileBlobStore(tmp_path)
    with pytest.raises(ConnectionResetError):
        await store.put(breaks(), limit_bytes=1 << 30)
    assert files_under(tmp_path) == []


async def test_a_cancelled_upload_keeps_nothing(tmp_path: Path) -> None:
    started = asyncio.Event()

    async def stalls() -> AsyncIterator[bytes]:
        yield b"x" * BATCH_BYTES
        started.set()
        await asyncio.Event().wait()

    store = FileBlobStore(tmp_path)
    task = asyncio.create_task(store.put(stalls(), limit_bytes=1 << 30))
    await started.wait()
    assert len(files_under(tmp_path)) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert files_under(tmp_path) == []


async def test_opening_removes_what_a_crash_left(tmp_path: Path) -> None:
    store = FileBlobStore(tmp_path)
    await store.put(chunks_of(DATA), limit_bytes=len(DATA))
    leftover = tmp_path / "incoming" / "half"
    leftover.write_bytes(b"half an image")
    again = FileBlobStore(tmp_path)
    assert not leftover.exists()
    assert await read(again, SHA256) == DATA


@pytest.mark.parametrize("name", ["", "0" * 63, "0" * 64, "A" * 64, "../../../etc/passwd", SHA256 + "/x"])
async def test_unknown_and_malformed_names_are_not_found(tmp_path: Path, name: str) -> None:
    store = FileBlobStore(tmp_path)
    with pytest.raises(BlobNotFoundError):
        await read(store, name)
    assert await store.path(name) is None
    await store.delete(name)


async def test_delete_spares_open_readers(tmp_path: Path) -> None:
    store = FileBlobStore(tmp_path)
    await store.put(chunks_of(DATA), limit_bytes=len(DATA))
    reader = store.get(SHA256, chunk_bytes=100)
    first = await anext(reader)
    await store.delete(SHA256)
    rest = b"".join([chunk async for chunk in reader])
    assert first + rest == DATA
    assert await store.path(SHA256) is None


async def test_two_uploads_of_the_same_bytes_are_one_blob(tmp_path: Path) -> None:
    store = FileBlobStore(tmp_path)
    both = await asyncio.gather(*(store.put(chunks_of(DATA), limit_bytes=len(DATA)) for _ in range(2)))
    assert both[0] == both[1]
    assert len(files_under(tmp_path)) == 1


async def test_sweep_spares_the_young_and_the_used(tmp_path: Path) -> None:
    store = FileBlobStore(tmp_path)
    used = await store.put(chunks_of(b"used"), limit_bytes=100)
    old = await store.put(chunks_of(b"old"), limit_bytes=100)
    young = await store.put(chunks_of(b"young"), limit_bytes=100)
    for blob in (used, old):
        path = await store.path(blob.sha256)
        assert path is not None
        os.utime(path, (0, 0))
    assert await store.sweep(frozenset({used.sha256}), unused_s=3600) == (old.sha256,)
    assert await store.path(used.sha256) is not None
    assert await store.path(young.sha256) is not None


async def test_the_loop_runs_on_while_a_blob_is_hashed(tmp_path: Path) -> None:
    """A heartbeat must not wait for an upload: the loop turns many times during one put."""
    store = FileBlobStore(tmp_path)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counter = asyncio.create_task(count())
    await store.put(chunks_of(b"x" * (8 * BATCH_BYTES), BATCH_BYTES), limit_bytes=1 << 30)
    counter.cancel()
    assert turns > 50
