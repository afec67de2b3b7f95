"""What servers were asked for with, their images' properties and hints: on both engines, at every level."""

from __future__ import annotations

from fabric.core.servers.model import Origin
from fabric.core.servers.queries import ListOrigins
from proto.commands.catalog import ImageDelete
from proto.commands.server_groups import ServerGroupDelete
from proto.ids import ImageId, ServerGroupId, ServerId
from tests.contract.store.test_server_groups import group_create, hinted
from tests.fixtures.store_world import StoreWorld, image_create


async def origin(world: StoreWorld, server_id: str) -> Origin:
    return (await world.ask(ListOrigins(server_ids=(ServerId(server_id),))))[ServerId(server_id)]


async def test_each_of_those_asked_for_that_there_are(world: StoreWorld) -> None:
    await world.do(image_create("tuned", properties={"hw_disk_bus": "scsi", "mine": "x"}))
    await world.do(
        hinted(world, "one", image_id=ImageId("tuned"), hints={"same_host": ["s1", "s2"], "a": "b"})
    )
    await world.server("two")
    await world.server("three")
    names = tuple(ServerId(name) for name in ("one", "two", "nobody"))
    assert await world.ask(ListOrigins(server_ids=names)) == {
        "one": Origin(
            image_properties={"hw_disk_bus": "scsi", "mine": "x"},
            hints={"same_host": ("s1", "s2"), "a": ("b",)},
        ),
        "two": Origin(),
    }
    assert await world.ask(ListOrigins(server_ids=())) == {}


async def test_an_image_that_is_gone_has_no_properties(world: StoreWorld) -> None:
    await world.do(image_create("tuned", properties={"hw_disk_bus": "scsi"}))
    await world.server("one", image_id=ImageId("tuned"))
    assert (await origin(world, "one")).image_properties == {"hw_disk_bus": "scsi"}
    await world.do(ImageDelete(image_id=ImageId("tuned")))
    assert await origin(world, "one") == Origin()


async def test_its_group_is_a_hint_as_long_as_it_is_one(world: StoreWorld) -> None:
    await world.do(group_create("g"))
    await world.do(hinted(world, "one", "g", hints={"a": "b"}))
    assert (await origin(world, "one")).hints == {"a": ("b",), "group": ("g",)}
    await world.do(ServerGroupDelete(group_id=ServerGroupId("g")))
    assert (await origin(world, "one")).hints == {"a": ("b",)}


async def test_before_there_were_hints(bare: StoreWorld) -> None:
    await bare.init()
    await bare.server("one")
    assert await origin(bare, "one") == Origin()
