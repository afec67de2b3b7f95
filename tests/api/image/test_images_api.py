"""Image v2 as clients see it: records, bytes, and who may do what."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import pytest

from fabric.api.image.json_patch import MEDIA_TYPE_20, MEDIA_TYPE_21
from proto.ids import new_uuid
from tests.api.api_world import Answer, Person, World
from tests.unit.control.test_image_formats import GIB, qcow2

DATA = Random(1).randbytes(300_000)  # the same in every worker: it names test cases
RAW = {"name": "img", "disk_format": "raw", "container_format": "bare"}
IMAGES = "/image/v2/images"
OCTETS = {"Content-Type": "application/octet-stream"}


async def make(person: Person, **fields: Any) -> dict[str, Any]:
    answer = await person.post(IMAGES, {**RAW, **fields})
    assert answer.status == 201, answer.data
    image: dict[str, Any] = answer.json
    return image


async def upload(person: Person, image_id: str, data: Any = DATA) -> Answer:
    return await person.put(f"{IMAGES}/{image_id}/file", data=data, headers=OCTETS)


async def patch(person: Person, image_id: str, operations: Any, media_type: str = MEDIA_TYPE_21) -> Answer:
    return await person.ask("PATCH", f"{IMAGES}/{image_id}", operations, headers={"Content-Type": media_type})


async def names(person: Person, query: str) -> list[str]:
    answer = await person.get(f"{IMAGES}?{query}")
    assert answer.status == 200, answer.data
    return [image["name"] for image in answer.json["images"]]


def stored_files(world: World) -> int:
    return sum(1 for path in world.blobs.rglob("*") if path.is_file())


async def test_create_upload_show_download_delete(world: World) -> None:
    answer = await world.alice.post(
        IMAGES, {**RAW, "owner_specified.openstack.md5": "x", "hw_disk_bus": "scsi"}
    )
    image = answer.json
    assert answer.status == 201
    assert answer.headers["location"] == f"{world.url}{IMAGES}/{image['id']}"
    assert "openstack-image-import-methods" in answer.headers
    assert (image["status"], image["size"], image["checksum"]) == ("queued", None, None)
    assert (image["owner"], image["visibility"]) == (world.alice.project_id, "shared")
    assert image["owner_specified.openstack.md5"] == "x"
    assert image["file"] == f"/v2/images/{image['id']}/file"

    empty = await world.alice.get(f"{IMAGES}/{image['id']}/file")
    assert (empty.status, empty.data) == (204, b"")
    assert (await upload(world.alice, image["id"])).status == 204

    shown = (await world.alice.get(f"{IMAGES}/{image['id']}")).json
    assert shown["status"] == "active"
    assert shown["size"] == shown["virtual_size"] == len(DATA)
    assert shown["checksum"] == hashlib.md5(DATA).hexdigest()
    assert shown["os_hash_algo"] == "sha512"
    assert shown["os_hash_value"] == hashlib.sha512(DATA).hexdigest()

    whole = await world.alice.get(f"{IMAGES}/{image['id']}/file")
    assert whole.data == DATA
    assert whole.headers["content-md5"] == shown["checksum"]
    assert whole.headers["content-length"] == str(len(DATA))

    assert (await world.alice.delete(f"{IMAGES}/{image['id']}")).status == 204
    assert (await world.alice.get(f"{IMAGES}/{image['id']}")).status == 404


async def test_chunked_upload(world: World) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(DATA), 10_000):
            yield DATA[start : start + 10_000]

    image = await make(world.alice)
    assert (await upload(world.alice, image["id"], pieces())).status == 204
    assert (await world.alice.get(f"{IMAGES}/{image['id']}/file")).data == DATA


@pytest.mark.parametrize(
    ("header", "wanted", "content_range"),
    [
        ("bytes=0-9", DATA[:10], "bytes 0-9/300000"),
        ("bytes=299990-", DATA[-10:], "bytes 299990-299999/300000"),
        ("bytes=-7", DATA[-7:], "bytes 299993-299999/300000"),
        ("bytes=5-999999999", DATA[5:], "bytes 5-299999/300000"),
    ],
)
async def test_ranges(world: World, header: str, wanted: bytes, content_range: str) -> None:
    image = await make(world.alice)
    await upload(world.alice, image["id"])
    answer = await world.alice.get(f"{IMAGES}/{image['id']}/file", headers={"Range": header})
    assert (answer.status, answer.data) == (206, wanted)
    assert answer.headers["content-range"] == content_range
    assert "content-md5" not in answer.headers


@pytest.mark.parametrize(
    "header", ["bytes=300000-", "bytes=9-5", "bytes=-", "bytes=-0", "lines=0-9", "bytes=0-1,5-6"]
)
async def test_ranges_that_cannot_be_served(world: World, header: str) -> None:
    image = await make(world.alice)
    await upload(world.alice, image["id"])
    answer = await world.alice.get(f"{IMAGES}/{image['id']}/file", headers={"Range": header})
    assert answer.status == 416


async def test_qcow2_tells_its_virtual_size(world: World) -> None:
    image = await make(world.alice, disk_format="qcow2")
    assert (await upload(world.alice, image["id"], qcow2())).status == 204
    assert (await world.alice.get(f"{IMAGES}/{image['id']}")).json["virtual_size"] == GIB


@pytest.mark.parametrize(
    ("disk_format", "data", "why"),
    [
        ("qcow2", DATA, "qcow2"),
        ("qcow2", b"", "qcow2"),
        ("qcow2", qcow2(backing_offset=512), "backing file"),
        ("qcow2", qcow2(incompatible=4), "external data file"),
        ("raw", qcow2(), "qcow2"),
    ],
)
async def test_bytes_of_the_wrong_kind_leave_the_image_queued(
    world: World, disk_format: str, data: bytes, why: str
) -> None:
    image = await make(world.alice, disk_format=disk_format)
    answer = await upload(world.alice, image["id"], data)
    assert answer.status == 400
    assert why in answer.json["message"]
    assert (await world.alice.get(f"{IMAGES}/{image['id']}")).json["status"] == "queued"
    assert stored_files(world) == 0


@pytest.mark.parametrize("is_announced", [True, False])
async def test_an_image_over_the_limit_is_413_and_leaves_nothing(world: World, is_announced: bool) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(17):
            yield b"x" * (1 << 16)

    image = await make(world.alice)
    answer = await upload(world.alice, image["id"], b"x" * ((1 << 20) + 1) if is_announced else pieces())
    assert answer.status == 413
    assert "larger" in answer.json["message"]
    assert (await world.alice.get(f"{IMAGES}/{image['id']}")).json["status"] == "queued"
    assert stored_files(world) == 0


async def test_a_client_gone_in_the_middle_leaves_the_image_queued(world: World) -> None:
    sent = asyncio.Event()

    async def stalls() -> AsyncIterator[bytes]:
        yield b"x" * 100_000
        sent.set()
        await asyncio.Event().wait()

    image = await make(world.alice)
    task = asyncio.create_task(upload(world.alice, image["id"], stalls()))
    await sent.wait()
    while stored_files(world) == 0:
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    while stored_files(world) > 0:
        await asyncio.sleep(0.005)
    assert (await world.alice.get(f"{IMAGES}/{image['id']}")).json["status"] == "queued"
    assert (await upload(world.alice, image["id"])).status == 204


async def test_uploads_are_for_queued_images_with_formats(world: World) -> None:
    image = await make(world.alice)
    assert (await upload(world.alice, image["id"])).status == 204
    again = await upload(world.alice, image["id"])
    assert again.status == 409
    bare = (await world.alice.post(IMAGES, {"name": "no formats"})).json
    missing = await upload(world.alice, bare["id"])
    assert missing.status == 400
    assert "disk_format" in missing.json["message"]
    wrong_type = await world.alice.put(
        f"{IMAGES}/{bare['id']}/file", data=b"x", headers={"Content-Type": "application/json"}
    )
    assert wrong_type.status == 415


async def test_concurrent_uploads_make_one_image(world: World) -> None:
    image = await make(world.alice)
    answers = await asyncio.gather(*(upload(world.alice, image["id"], os.urandom(50_000)) for _ in range(4)))
    assert sorted(answer.status for answer in answers) == [204, 409, 409, 409]
    shown = (await world.alice.get(f"{IMAGES}/{image['id']}")).json
    data = (await world.alice.get(f"{IMAGES}/{image['id']}/file")).data
    assert shown["checksum"] == hashlib.md5(data).hexdigest()


async def test_visibility(world: World) -> None:
    private = await make(world.alice, name="private", visibility="private")
    community = await make(world.alice, name="community", visibility="community")
    refused = await world.alice.post(IMAGES, {**RAW, "visibility": "public"})
    assert refused.status == 403
    public = await make(world.admin, name="public", visibility="public")

    assert (await world.bob.get(f"{IMAGES}/{private['id']}")).status == 404
    assert (await world.bob.delete(f"{IMAGES}/{private['id']}")).status == 404
    assert (await upload(world.bob, private["id"])).status == 404
    for image in (community, public):
        assert (await world.bob.get(f"{IMAGES}/{image['id']}")).status == 200
        assert (await world.bob.delete(f"{IMAGES}/{image['id']}")).status == 403
        assert (
            await patch(world.bob, image["id"], [{"op": "replace", "path": "/name", "value": "x"}])
        ).status == 403
        assert (await upload(world.bob, image["id"])).status == 403
    assert "private" not in await names(world.bob, "")
    assert "public" in await names(world.bob, "")
    assert await names(world.bob, "visibility=community") == ["community"]
    assert "private" in await names(world.admin, "visibility=all")


async def test_readers_read_only(world: World) -> None:
    image = await make(world.alice)
    assert (await world.reader.get(f"{IMAGES}/{image['id']}")).status == 200
    assert (await world.reader.post(IMAGES, RAW)).status == 403
    assert (await world.reader.delete(f"{IMAGES}/{image['id']}")).status == 403
    assert (await upload(world.reader, image["id"])).status == 403


async def test_protected_images_stay(world: World) -> None:
    image = await make(world.alice, protected=True)
    refused = await world.alice.delete(f"{IMAGES}/{image['id']}")
    assert refused.status == 403
    assert "protected" in refused.json["message"]
    assert (
        await patch(world.alice, image["id"], [{"op": "replace", "path": "/protected", "value": False}])
    ).status == 200
    assert (await world.alice.delete(f"{IMAGES}/{image['id']}")).status == 204


async def test_patch_in_both_forms(world: World) -> None:
    image = await make(world.alice, os_distro="debian")
    operations = [
        {"op": "replace", "path": "/name", "value": "new"},
        {"op": "add", "path": "/hw_rng_model", "value": "virtio"},
        {"op": "remove", "path": "/os_distro"},
    ]
    answer = await patch(world.alice, image["id"], operations)
    assert answer.status == 200
    assert (answer.json["name"], answer.json["hw_rng_model"]) == ("new", "virtio")
    assert "os_distro" not in answer.json
    old = await patch(world.alice, image["id"], [{"replace": "/min_ram", "value": 64}], MEDIA_TYPE_20)
    assert old.json["min_ram"] == 64
    wrong = await patch(world.alice, image["id"], operations, "application/json")
    assert wrong.status == 415


async def test_a_refused_patch_changes_nothing(world: World) -> None:
    image = await make(world.alice)
    operations = [
        {"op": "replace", "path": "/name", "value": "new"},
        {"op": "replace", "path": "/size", "value": 1},
    ]
    assert (await patch(world.alice, image["id"], operations)).status == 403
    assert (await world.alice.get(f"{IMAGES}/{image['id']}")).json["name"] == "img"


async def test_formats_are_settled_by_the_upload(world: World) -> None:
    image = await make(world.alice)
    change = [{"op": "replace", "path": "/disk_format", "value": "qcow2"}]
    assert (await patch(world.alice, image["id"], change)).status == 200
    await upload(world.alice, image["id"], qcow2())
    change[0]["value"] = "raw"
    assert (await patch(world.alice, image["id"], change)).status == 403


async def test_concurrent_patches_all_count(world: World) -> None:
    image = await make(world.alice)
    await asyncio.gather(
        *(patch(world.alice, image["id"], [{"op": "add", "path": f"/p{n}", "value": "v"}]) for n in range(5))
    )
    shown = (await world.alice.get(f"{IMAGES}/{image['id']}")).json
    assert all(shown[f"p{n}"] == "v" for n in range(5))


async def test_tags(world: World) -> None:
    image = await make(world.alice, tags=["old"])
    tag_url = f"{IMAGES}/{image['id']}/tags"
    assert (await world.alice.put(f"{tag_url}/new%20tag")).status == 204
    assert (await world.alice.put(f"{tag_url}/new%20tag")).status == 204
    assert sorted((await world.alice.get(f"{IMAGES}/{image['id']}")).json["tags"]) == ["new tag", "old"]
    assert await names(world.alice, "tag=old&tag=new%20tag") == ["img"]
    assert await names(world.alice, "tag=old&tag=absent") == []
    assert (await world.alice.delete(f"{tag_url}/old")).status == 204
    assert (await world.alice.delete(f"{tag_url}/old")).status == 404
    assert (await world.alice.put(f"{tag_url}/{'x' * 256}")).status == 400


async def test_filters(world: World) -> None:
    first = await make(world.alice, name="a", os_distro="debian")
    await make(world.alice, name="b,c", os_hidden=True)
    third = await make(world.alice, name="d", disk_format="qcow2", protected=True)
    await upload(world.alice, first["id"])
    assert await names(world.alice, "name=a") == ["a"]
    assert sorted(await names(world.alice, 'name=in:a,d,"b,c"')) == ["a", "d"]
    assert await names(world.alice, "os_hidden=true") == ["b,c"]
    assert sorted(await names(world.alice, f"id=in:{first['id']},{third['id']},{new_uuid()}")) == ["a", "d"]
    assert await names(world.alice, "status=active") == ["a"]
    assert await names(world.alice, "disk_format=qcow2") == ["d"]
    assert await names(world.alice, "protected=true") == ["d"]
    assert await names(world.alice, "os_distro=debian") == ["a"]
    assert await names(world.alice, f"size_min={len(DATA)}&size_max={len(DATA)}") == ["a"]
    assert await names(world.alice, f"size_min={len(DATA) + 1}") == []
    assert await names(world.alice, f"owner={world.bob.project_id}") == []
    assert await names(world.alice, "member_status=all&visibility=shared&name=a") == ["a"]


async def test_pages_follow_next_to_the_end(world: World) -> None:
    for n in range(5):
        await make(world.alice, name=f"i{n}")
    seen, path = [], "/v2/images?limit=2&sort_key=name&sort_dir=asc"
    for _ in range(10):
        page = (await world.alice.get(f"/image{path}")).json
        seen += [image["name"] for image in page["images"]]
        assert page["first"].startswith("/v2/images?limit=2")
        if "next" not in page:
            break
        path = page["next"]
    assert seen == [f"i{n}" for n in range(5)]
    assert await names(world.alice, "sort=name:desc&limit=1") == ["i4"]
    assert await names(world.alice, "limit=0") == []
    assert (await world.alice.get(f"{IMAGES}?marker={new_uuid()}")).status == 400


async def test_ids_may_be_chosen_once(world: World) -> None:
    wanted = new_uuid()
    assert (await make(world.alice, id=wanted))["id"] == wanted
    assert (await world.bob.post(IMAGES, {**RAW, "id": wanted})).status == 409


@pytest.mark.parametrize("name", ["cirros", "a%20b", "..", "x" * 5000, "%00", "%E2%98%83"])
async def test_names_are_404(world: World, name: str) -> None:
    assert (await world.alice.get(f"{IMAGES}/{name}")).status == 404


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        ([], 400, "object"),
        ({**RAW, "name": 7}, 400, "name"),
        ({**RAW, "name": "n" * 10_000}, 400, "name"),
        ({**RAW, "visibility": "secret"}, 400, "visibility"),
        ({**RAW, "disk_format": "floppy"}, 400, "disk_format"),
        ({**RAW, "container_format": "box"}, 400, "container_format"),
        ({**RAW, "disk_format": "aki"}, 400, "must match"),
        ({**RAW, "min_ram": -1}, 400, "min_ram"),
        ({**RAW, "min_disk": 1 << 40}, 400, "min_disk"),
        ({**RAW, "protected": "yes"}, 400, "protected"),
        ({**RAW, "id": "seven"}, 400, "id"),
        ({**RAW, "tags": [7]}, 400, "tags"),
        ({**RAW, "free": {"a": 1}}, 400, "free"),
        ({**RAW, "free": "x" * 70_000}, 400, "free"),
        ({**RAW, "status": "active"}, 403, "status"),
        ({**RAW, "checksum": "x"}, 403, "checksum"),
        ({**RAW, "locations": "x"}, 403, "locations"),
        ({**RAW, "owner": "f" * 32}, 403, "project"),
        ({**RAW, **{f"p{n}": "v" for n in range(129)}}, 413, "properties"),
        ({**RAW, "tags": [str(n) for n in range(129)]}, 413, "tags"),
    ],
)
async def test_bad_bodies_name_the_field_and_make_nothing(
    world: World, body: Any, status: int, named: str
) -> None:
    answer = await world.alice.post(IMAGES, body)
    assert answer.status == status, answer.data
    assert named in answer.json["message"]
    assert await names(world.alice, "") == []


@pytest.mark.parametrize(
    "data", [b"", b"{", b'{"name": "\\ud800"}', b"\xff\xfe", b"[" * 100_000, b'{"a":1e999}']
)
async def test_malformed_json_is_400(world: World, data: bytes) -> None:
    answer = await world.alice.ask("POST", IMAGES, data=data, headers={"Content-Type": "application/json"})
    assert answer.status == 400


async def test_no_token_no_answer(world: World) -> None:
    stranger = Person(world.alice.session, world.url, "nonsense", world.alice.project_id)
    answer = await stranger.get(IMAGES)
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Keystone uri=")


async def test_members_are_refused_clearly(world: World) -> None:
    image = await make(world.alice)
    members = f"{IMAGES}/{image['id']}/members"
    assert (await world.alice.get(members)).json == {"members": [], "schema": "/v2/schemas/members"}
    assert (await world.alice.post(members, {"member": world.bob.project_id})).status == 403
    assert (await world.alice.get(f"{members}/{world.bob.project_id}")).status == 404


async def test_discovery(world: World) -> None:
    schema = (await world.alice.get("/image/v2/schemas/image")).json
    assert schema["name"] == "image"
    image = await make(world.alice)
    assert set(image) <= set(schema["properties"])
    for name in ("images", "member", "members"):
        assert (await world.alice.get(f"/image/v2/schemas/{name}")).status == 200
    assert (await world.alice.get("/image/v2/schemas/nothing")).status == 404
    assert (await world.alice.get("/image/v2/info/import")).json["import-methods"]["value"] == []
    assert (await world.alice.get("/image/v2/info/stores")).json["stores"][0]["default"] == "true"
