"""Blobs of deleted images leave the disk; nothing else does."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from fabric.core.images.queries import BlobsInUse
from fabric.errors import NoQuorumError
from fabric.runtime.blob_store import FileBlobStore
from fabric.runtime.blob_sweep import BlobSweeper
from fabric.runtime.hard_state import HardState


class Rows:
    def __init__(self, *in_use: str) -> None:
        self.in_use = in_use
        self.is_reachable = True

    async def read(self, query: BlobsInUse) -> tuple[str, ...]:
        if not self.is_reachable:
            raise NoQuorumError
        assert query == BlobsInUse()
        return self.in_use


async def put_old(store: FileBlobStore, data: bytes) -> str:
    async def once() -> AsyncIterator[bytes]:
        yield data

    stored = await store.put(once(), limit_bytes=len(data))
    path = await store.path(stored.sha256)
    assert path is not None
    os.utime(path, (0, 0))
    return stored.sha256


async def test_only_blobs_no_image_names_go(tmp_path: Path) -> None:
    store = FileBlobStore(tmp_path)
    used, unused = await put_old(store, b"used"), await put_old(store, b"unused")
    sweeper = BlobSweeper(cast(HardState, cast(Any, Rows(used))), store)
    assert await sweeper.sweep_once() == (unused,)
    assert await store.path(used) is not None
    assert await store.path(unused) is None


async def test_without_rows_nothing_goes(tmp_path: Path) -> None:
    """An unreadable list of images must never look like an empty one."""
    store, rows = FileBlobStore(tmp_path), Rows()
    blob = await put_old(store, b"blob")
    rows.is_reachable = False
    with pytest.raises(NoQuorumError):
        await BlobSweeper(cast(HardState, cast(Any, rows)), store).sweep_once()
    assert await store.path(blob) is not None
