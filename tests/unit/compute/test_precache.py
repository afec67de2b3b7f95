"""Images that somebody wants on a host before any server does."""

from __future__ import annotations

from pathlib import Path

import pytest

from fabric.compute.precache import WAITING_MAX
from fabric.core.placement.host_word import packed
from fabric.errors import RemoteError
from fabric.runtime.host_calls import CACHE_IMAGES, RpcHostCalls
from proto.codec import Plain
from proto.errors import Outcome
from proto.ids import NodeId
from tests.fixtures.compute_doubles import Gate
from tests.fixtures.compute_rows import HOST, image
from tests.unit.compute.world import World

WANTED = [image(sha256=each * 32) for each in ("1a", "2b")]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_they_are_fetched_in_the_background_each_once(world: World) -> None:
    gate = Gate()
    gate.stop.add("fetch")
    async with world.life(gate) as life:
        await RpcHostCalls(life.rpc).cache_images(HOST, [*WANTED, *WANTED])
        await RpcHostCalls(life.rpc).cache_images(HOST, WANTED)
        assert not life.side.word().images
        gate.opened.set()
        await world.until(lambda: life.side.word().images == packed(each.sha256 for each in WANTED))
        files = world.directory / "compute" / "images"
        assert sorted(each.name for each in files.iterdir()) == [each.sha256 for each in WANTED]
        assert (gate.calls.count("fetch"), gate.peak["fetch"]) == (2, 1)


async def test_one_that_cannot_be_had_does_not_stop_the_others_and_may_be_asked_for_again(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()
    gate.fail["fetch"] = RemoteError("fabric.blob.not_found", "gone", Outcome.NOT_DONE)
    async with world.life(gate) as life:
        await RpcHostCalls(life.rpc).cache_images(HOST, [image(sha256="no address"), WANTED[0]])
        await world.until(lambda: caplog.text.count("image not cached") == 2)
        assert not life.side.word().images
        gate.fail.clear()
        await RpcHostCalls(life.rpc).cache_images(HOST, [image(sha256="no address"), WANTED[0]])
        await world.until(lambda: life.side.word().images == packed([WANTED[0].sha256]))


async def test_only_so_many_wait(world: World) -> None:
    async with world.life() as life:
        many = [image(sha256=f"{number:064x}") for number in range(WAITING_MAX + 1)]
        with pytest.raises(RemoteError, match="at most 256 may") as caught:
            await RpcHostCalls(life.rpc).cache_images(HOST, many)
        assert caught.value.outcome is Outcome.NOT_DONE
        await world.settle(life)
        assert not life.side.word().images


@pytest.mark.parametrize("body", [{}, {"images": "all"}, {"images": [{"image_id": 7}]}])
async def test_what_is_no_list_of_images_is_refused(world: World, body: dict[str, Plain]) -> None:
    async with world.life() as life:
        with pytest.raises(RemoteError, match="images"):
            await life.rpc.call(HOST, CACHE_IMAGES, body, timeout_ms=1_000)


async def test_a_stolen_host_has_nothing_fetched(world: World) -> None:
    async with world.life() as life:
        with pytest.raises(RemoteError) as caught:
            await life.rpc.handlers[CACHE_IMAGES](NodeId("b" * 32), {"images": []})
        assert caught.value.remote_code == "fabric.host.forbidden"
