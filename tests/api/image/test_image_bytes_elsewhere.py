"""Downloads of images whose bytes are on another node."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from fabric.errors import PeerUnreachableError
from fabric.runtime.blob_store import FileBlobStore
from proto.ids import NodeId
from tests.api.api_world import NODE, World, open_world
from tests.api.image.test_images_api import DATA, IMAGES, make, upload


class Elsewhere:
    """Another node's store, within reach or not."""

    def __init__(self, remote: Path) -> None:
        self.remote = remote
        self.local: FileBlobStore | None = None
        self.is_reachable = True
        self.asked: list[tuple[str, int, NodeId]] = []

    async def fetch(self, sha256: str, size_bytes: int, holder: NodeId) -> str:
        self.asked.append((sha256, size_bytes, holder))
        if not self.is_reachable:
            raise PeerUnreachableError

        async def bytes_of_remote() -> AsyncIterator[bytes]:
            yield (self.remote / sha256).read_bytes()

        assert self.local is not None
        await self.local.put(bytes_of_remote(), limit_bytes=size_bytes, expected_sha256=sha256)
        path = await self.local.path(sha256)
        assert path is not None
        return path


async def moved_image(world: World, elsewhere: Elsewhere) -> str:
    """An uploaded image whose bytes are then only in the other node's store."""
    image = await make(world.alice)
    assert (await upload(world.alice, image["id"])).status == 204
    (blob,) = [path for path in world.blobs.rglob("*") if path.is_file()]
    elsewhere.remote.mkdir()
    blob.rename(elsewhere.remote / blob.name)
    assert isinstance(world.cloud.blobs, FileBlobStore)
    elsewhere.local = world.cloud.blobs
    return str(image["id"])


async def test_bytes_are_brought_here_first(tmp_path: Path) -> None:
    elsewhere = Elsewhere(tmp_path / "elsewhere")
    async with open_world(tmp_path, blob_source=elsewhere) as world:
        image_id = await moved_image(world, elsewhere)
        for _ in range(2):
            answer = await world.alice.get(f"{IMAGES}/{image_id}/file")
            assert (answer.status, answer.data) == (200, DATA)
        (asked,) = elsewhere.asked
        assert asked[1:] == (len(DATA), NODE)


async def test_a_holder_out_of_reach_is_503(tmp_path: Path) -> None:
    elsewhere = Elsewhere(tmp_path / "elsewhere")
    async with open_world(tmp_path, blob_source=elsewhere) as world:
        image_id = await moved_image(world, elsewhere)
        elsewhere.is_reachable = False
        answer = await world.alice.get(f"{IMAGES}/{image_id}/file")
        assert answer.status == 503
        assert "retry-after" in answer.headers
        head = await world.alice.ask("HEAD", f"{IMAGES}/{image_id}/file")
        assert (head.status, head.headers["content-length"], head.data) == (200, str(len(DATA)), b"")


async def test_without_a_source_only_local_bytes_are_served(tmp_path: Path) -> None:
    elsewhere = Elsewhere(tmp_path / "elsewhere")
    async with open_world(tmp_path) as world:
        assert world.cloud.blob_source is None
        image_id = await moved_image(world, elsewhere)
        assert (await world.alice.get(f"{IMAGES}/{image_id}/file")).status == 503
