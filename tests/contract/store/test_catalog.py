"""Flavors, key pairs and images, accepted and each way rejected, on both engines."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fabric.core.catalog.queries import GetFlavor, GetKeypair, ListFlavors, ListKeypairs
from fabric.core.images.queries import BlobsInUse, GetImage, ImageFilter, ListImages
from fabric.core.queries import BadFilterError, MarkerNotFoundError, Page
from proto.commands.catalog import (
    FlavorDelete,
    FlavorUpdate,
    ImageDelete,
    ImageUpdate,
    KeypairCreate,
    KeypairDelete,
)
from proto.commands.quotas import QuotaSet
from proto.ids import FlavorId, ImageId, ProjectId, UserId
from tests.fixtures.store_world import (
    ADMIN_PROJECT,
    FLAVOR,
    IMAGE,
    PROJECT,
    USER,
    StoreWorld,
    flavor_create,
    image_activate,
    image_create,
)

NO_FLAVOR, NO_IMAGE = FlavorId("none"), ImageId("none")


async def test_flavors(world: StoreWorld) -> None:
    await world.refuse(flavor_create(FLAVOR, name="other"), "conflict", f"ID {FLAVOR} already exists")
    await world.refuse(flavor_create("other", name=FLAVOR), "conflict", f"name {FLAVOR} already exists")
    await world.refuse(flavor_create("bad", vcpus=0), "invalid")
    await world.refuse(FlavorUpdate(flavor_id=NO_FLAVOR), "not_found", "Flavor none could not be found.")
    await world.refuse(FlavorDelete(flavor_id=NO_FLAVOR), "not_found")
    await world.do(FlavorUpdate(flavor_id=FLAVOR, description="d", extra_specs_set={"a": "1", "b": "2"}))
    await world.do(FlavorUpdate(flavor_id=FLAVOR, extra_specs_unset=("a",), extra_specs_set={"b": "3"}))
    unset = FlavorUpdate(flavor_id=FLAVOR, extra_specs_unset=("a",))
    await world.refuse(unset, "not_found", "no extra specs with key a")
    flavor = await world.ask(GetFlavor(flavor_id=FLAVOR))
    assert flavor is not None
    assert (flavor.description, dict(flavor.extra_specs)) == ("d", {"b": "3"})
    await world.do(FlavorDelete(flavor_id=FLAVOR))
    assert await world.ask(GetFlavor(flavor_id=FLAVOR)) is None


async def test_flavor_access(world: StoreWorld) -> None:
    await world.do(flavor_create("private", is_public=False))
    private = FlavorId("private")
    add = FlavorUpdate(flavor_id=private, access_add=(PROJECT,))
    assert await _flavors(world, visible_to=PROJECT, is_public=None) == ["m1.small"]
    await world.do(add)
    await world.refuse(add, "conflict", "access already exists")
    assert await _flavors(world, visible_to=PROJECT, is_public=None) == ["m1.small", "private"]
    assert await _flavors(world, visible_to=ADMIN_PROJECT, is_public=None) == ["m1.small"]
    assert await _flavors(world, is_public=False) == ["private"]
    flavor = await world.ask(GetFlavor(flavor_id=private))
    assert flavor is not None
    assert flavor.access_project_ids == (PROJECT,)
    remove = FlavorUpdate(flavor_id=private, access_remove=(PROJECT,))
    await world.do(remove)
    await world.refuse(remove, "not_found", "access not found")


async def _flavors(world: StoreWorld, **wanted: object) -> list[str]:
    return [flavor.name for flavor in await world.ask(ListFlavors(**wanted))]  # type: ignore[arg-type]


async def test_flavor_pages(world: StoreWorld) -> None:
    for number in range(5):
        await world.do(flavor_create(f"f{number}", memory_mb=1_024 + number, root_gb=number))
    first = await world.ask(ListFlavors(page=Page(limit=2)))
    rest = await world.ask(ListFlavors(page=Page(marker=first[-1].flavor_id)))
    assert [flavor.flavor_id for flavor in first + rest] == ["f0", "f1", "f2", "f3", "f4", FLAVOR]
    assert await _flavors(world, min_ram_mb=1_026, min_disk_gb=3) == ["f3", "f4"]
    with pytest.raises(MarkerNotFoundError):
        await world.ask(ListFlavors(page=Page(marker="none")))


async def test_keypairs(world: StoreWorld) -> None:
    command = KeypairCreate(
        user_id=USER, project_id=PROJECT, name="k1", key_type="ssh", public_key="ssh-x", fingerprint="f"
    )
    await world.do(command)
    await world.refuse(command, "conflict", "Key pair 'k1' already exists.")
    await world.refuse(replace(command, user_id=UserId("none"), name="k"), "not_found", "user: none")
    await world.do(QuotaSet(project_id=PROJECT, limits={"key_pairs": 2}))
    await world.do(replace(command, name="k0"))
    await world.refuse(replace(command, name="k2"), "quota", "too many key pairs")
    assert [key.name for key in await world.ask(ListKeypairs(user_id=USER))] == ["k0", "k1"]
    after = await world.ask(ListKeypairs(user_id=USER, page=Page(marker="k0", limit=5)))
    assert [key.name for key in after] == ["k1"]
    await world.do(KeypairDelete(user_id=USER, name="k1"))
    await world.refuse(KeypairDelete(user_id=USER, name="k1"), "not_found", "Keypair k1 not found")
    assert await world.ask(GetKeypair(user_id=USER, name="k1")) is None


def _update(generation: int, **changes: object) -> ImageUpdate:
    fields: dict[str, object] = {"name": "debian", "disk_format": "qcow2", "container_format": "bare"}
    return ImageUpdate(image_id=IMAGE, read_generation=generation, **fields | changes)  # type: ignore[arg-type]


async def test_image_life(world: StoreWorld) -> None:
    await world.refuse(image_create(), "conflict", "already exists")
    await world.refuse(image_create("x", project_id=ProjectId("none")), "not_found", "project: none")
    await world.refuse(image_create("x", visibility="secret"), "invalid", "secret")
    await world.refuse(image_create("x", min_disk_gb=-1), "invalid")
    await world.refuse(image_activate(), "bad_state", "from active to saving")
    await world.refuse(image_activate("none"), "not_found", "No image found with ID none")
    await world.refuse(_update(1), "stale")
    await world.refuse(replace(_update(1), image_id=NO_IMAGE), "not_found")
    await world.do(_update(2, protected=True, tags=("a", "b"), properties={"os": "linux"}))
    image = await world.ask(GetImage(image_id=IMAGE))
    assert image is not None
    assert (image.generation, image.tags, dict(image.properties)) == (3, ("a", "b"), {"os": "linux"})
    assert (image.status, image.sha256, image.size_bytes) == ("active", "s2", 1_000)
    await world.refuse(ImageDelete(image_id=IMAGE), "forbidden", "is protected and cannot be deleted")
    await world.do(_update(3))
    assert await world.ask(BlobsInUse()) == ("s2",)
    assert (await world.do(ImageDelete(image_id=IMAGE))).result == {"sha256": "s2"}
    assert await world.ask(BlobsInUse()) == ()
    await world.refuse(ImageDelete(image_id=IMAGE), "not_found")


async def test_image_filters(world: StoreWorld) -> None:
    async def ids(page: Page | None = None, **wanted: object) -> list[str]:
        query = ListImages(filter=ImageFilter(**wanted), page=page or Page())  # type: ignore[arg-type]
        return [image.image_id for image in await world.ask(query)]

    for name, changes in (
        ("i-public", {"visibility": "public", "tags": ("x", "y"), "name": "n1"}),
        ("i-private", {"visibility": "private", "name": "n2", "properties": {"os": "bsd"}}),
        ("i-community", {"visibility": "community", "name": None, "tags": ("x",)}),
        ("i-hidden", {"visibility": "public", "os_hidden": True}),
    ):
        world.clock.advance(10)
        await world.do(image_create(name, project_id=ADMIN_PROJECT, **changes))
    assert await ids() == ["i-community", "i-private", "i-public", IMAGE]
    assert await ids(visible_to=PROJECT) == ["i-community", "i-public", IMAGE]
    assert await ids(os_hidden=True) == ["i-hidden"]
    assert await ids(tags_all=("x",)) == ["i-community", "i-public"]
    assert await ids(tags_all=("x", "y")) == ["i-public"]
    assert await ids(properties=(("os", "bsd"),)) == ["i-private"]
    assert await ids(names=("n1", "n2")) == ["i-private", "i-public"]
    assert await ids(status="active", size_min=1, size_max=5_000) == [IMAGE]
    assert await ids(owner=ADMIN_PROJECT, visibility="private") == ["i-private"]
    by_name = (("name", "asc"),)
    everything = await ids(Page(sort=by_name))
    assert everything == ["i-community", IMAGE, "i-public", "i-private"]  # no name sorts as the empty one
    paged: list[str] = []
    while page := await ids(Page(sort=by_name, limit=1, marker=paged[-1] if paged else None)):
        paged += page
    assert paged == everything
    with pytest.raises(BadFilterError):
        await ids(Page(sort=(("password", "asc"),)))
    with pytest.raises(BadFilterError):
        await ids(Page(sort=(("name", "sideways"),)))
