"""Host aggregates by their API, and the availability zones that they make."""

from __future__ import annotations

from typing import Any

from proto.commands.catalog import ImageCreate
from proto.ids import ImageId
from tests.api.compute.world import HOST_NAMES, HOSTS, IMAGE, Answer, World

AGGREGATES = "/os-aggregates"
ALWAYS = {"id", "name", "availability_zone", "created_at", "updated_at", "deleted", "deleted_at"}


async def made(world: World, name: str, zone: str | None = None, hosts: tuple[str, ...] = ()) -> int:
    body = {"aggregate": {"name": name, "availability_zone": zone}}
    answer = await world.admin.post(AGGREGATES, body)
    assert answer.status == 200, answer.data
    number = answer.json["aggregate"]["id"]
    assert isinstance(number, int)
    for host in hosts:
        assert (await act(world, number, "add_host", host=host)).status == 200
    return number


async def act(world: World, number: Any, action: str, **fields: Any) -> Answer:
    return await world.admin.post(f"{AGGREGATES}/{number}/action", {action: fields})


async def test_an_aggregates_life_at_each_version(world: World) -> None:
    for version, extra in (("2.1", set()), ("2.40", set()), ("2.41", {"uuid"}), ("2.104", {"uuid"})):
        admin = world.admin.at(version)
        answer = await admin.post(AGGREGATES, {"aggregate": {"name": "ssd", "availability_zone": "z"}})
        assert answer.status == 200
        aggregate = answer.json["aggregate"]
        assert set(aggregate) == ALWAYS | extra
        assert (aggregate["availability_zone"], aggregate["deleted"]) == ("z", False)
        assert (aggregate["updated_at"], aggregate["deleted_at"]) == (None, None)
        path = f"{AGGREGATES}/{aggregate['id']}"
        shown = (await admin.get(path)).json["aggregate"]
        assert shown == aggregate | {"hosts": [], "metadata": {"availability_zone": "z"}}
        assert (await admin.get(AGGREGATES)).json["aggregates"] == [shown]
        answer = await admin.put(path, {"aggregate": {"name": " hdd ", "availability_zone": "y"}})
        assert answer.status == 200
        changed = answer.json["aggregate"]
        assert (changed["name"], changed["metadata"]) == ("hdd", {"availability_zone": "y"})
        assert changed["updated_at"] >= changed["created_at"]
        answer = await admin.delete(path)
        assert (answer.status, answer.data) == (200, b"")
        assert (await admin.get(path)).fault == (
            "itemNotFound",
            f"Aggregate {aggregate['id']} could not be found.",
        )


async def test_hosts_and_metadata(world: World) -> None:
    number = await made(world, "ssd")
    answer = await act(world, number, "add_host", host="h2")
    assert (answer.status, answer.json["aggregate"]["hosts"]) == (200, ["h2"])
    answer = await act(world, number, "set_metadata", metadata={"ssd": "true", "rack": "1"})
    assert answer.json["aggregate"]["metadata"] == {"ssd": "true", "rack": "1"}
    answer = await act(world, number, "set_metadata", metadata={"ssd": None, "rack": "2"})
    assert answer.json["aggregate"]["metadata"] == {"rack": "2"}
    answer = await act(world, number, "remove_host", host="h2")
    assert (answer.status, answer.json["aggregate"]["hosts"]) == (200, [])


async def test_the_zone_of_services_is_nobody_elses(world: World) -> None:
    number = await made(world, "plain")
    inner = {"availability_zone": "internal"}
    for answer in (
        await world.admin.post(AGGREGATES, {"aggregate": {"name": "inner", **inner}}),
        await world.admin.put(f"{AGGREGATES}/{number}", {"aggregate": inner}),
        await act(world, number, "set_metadata", metadata=inner),
    ):
        assert answer.status == 400
        assert "availability_zone: internal is where services are" in answer.fault[1]


async def test_faults_in_novas_words(world: World) -> None:
    north = await made(world, "north", "north", hosts=("h1",))
    plain = await made(world, "plain", hosts=("h1",))
    await world.active(world.alice)
    path = f"{AGGREGATES}/{north}"
    in_use = "One or more hosts contain instances in this zone."
    for answer, status, words in (
        (await world.admin.post(AGGREGATES, {"aggregate": {"name": "north"}}), 409, "north already exists"),
        (await world.admin.put(path, {"aggregate": {"name": "plain"}}), 409, "plain already exists"),
        (await act(world, north, "add_host", host="h1"), 409, "already has host h1."),
        (await act(world, north, "add_host", host="h9"), 404, "Compute host h9 could not be found."),
        (await act(world, 99, "add_host", host="h1"), 404, "Aggregate 99 could not be found."),
        (await act(world, north, "remove_host", host="h2"), 404, f"host h2 in aggregate {north}"),
        (await act(world, north, "remove_host", host="h9"), 404, f"host h9 in aggregate {north}"),
        (await act(world, north, "remove_host", host="h1"), 409, "from 'north' to 'nova'"),
        (await world.admin.put(path, {"aggregate": {"availability_zone": "w"}}), 400, in_use),
        (await act(world, north, "set_metadata", metadata={"availability_zone": "w"}), 400, in_use),
        (
            await act(world, north, "set_metadata", metadata={"availability_zone": None}),
            400,
            "Aggregate north does not support empty named availability zone.",
        ),
        (
            await world.admin.put(path, {"aggregate": {"availability_zone": None}}),
            400,
            "Aggregate north does not support empty named availability zone.",
        ),
        (
            await act(world, plain, "set_metadata", metadata={"availability_zone": "south"}),
            400,
            "One or more hosts already in availability zone(s) north.",
        ),
        (await world.admin.delete(path), 400, "Reason: Host aggregate is not empty."),
        (await world.admin.get(f"{AGGREGATES}/north"), 400, "id must be an integer"),
        (await world.admin.get(f"{AGGREGATES}/{10**30}"), 404, "could not be found"),
    ):
        assert answer.status == status, (answer.data, words)
        assert words in answer.fault[1], answer.data


async def test_bodies_that_cannot_be(world: World) -> None:
    number = await made(world, "ssd")
    path = f"{AGGREGATES}/{number}"
    for aggregate in (
        {},
        {"name": ""},
        {"name": " x"},
        {"name": "n" * 256},
        {"name": "x", "availability_zone": "a:b"},
        {"name": "x", "availability_zone": ""},
        {"name": "x", "hosts": []},
    ):
        assert (await world.admin.post(AGGREGATES, {"aggregate": aggregate})).status == 400, aggregate
    for change in ({}, {"name": "  "}, {"metadata": {}}):
        assert (await world.admin.put(path, {"aggregate": change})).status == 400, change
    for action in (
        {},
        {"add_host": {}},
        {"add_host": {"host": "a b"}},
        {"set_metadata": {"metadata": {"a/b": "c"}}},
        {"set_metadata": {"metadata": {"a": "c" * 256}}},
        {"drop_host": {"host": "h1"}},
        {"add_host": {"host": "h1"}, "remove_host": {"host": "h1"}},
    ):
        assert (await world.admin.post(f"{path}/action", action)).status == 400, action


async def test_aggregates_are_for_admins(world: World) -> None:
    number = await made(world, "ssd")
    path = f"{AGGREGATES}/{number}"
    alice = world.alice.at("2.81")
    for answer in (
        await alice.get(AGGREGATES),
        await alice.get(path),
        await alice.post(AGGREGATES, {"aggregate": {"name": "mine"}}),
        await alice.put(path, {"aggregate": {"name": "mine"}}),
        await alice.post(f"{path}/action", {"add_host": {"host": "h1"}}),
        await alice.post(f"{path}/action", {"remove_host": {"host": "h1"}}),
        await alice.post(f"{path}/action", {"set_metadata": {"metadata": {}}}),
        await alice.post(f"{path}/images", {"cache": [{"id": IMAGE}]}),
        await alice.delete(path),
    ):
        assert answer.status == 403, answer.data


async def test_images_are_named_for_a_cache_from_2_81(world: World) -> None:
    path = f"{AGGREGATES}/{await made(world, 'ssd')}/images"
    admin, missing = world.admin.at("2.81"), "99999999-9999-4999-8999-999999999999"
    answer = await admin.post(path, {"cache": [{"id": IMAGE}]})
    assert (answer.status, answer.data) == (202, b"")
    answer = await admin.post(path, {"cache": [{"id": IMAGE}, {"id": IMAGE}]})
    assert (answer.status, answer.fault[1]) == (400, "Duplicate images in request")
    answer = await admin.post(path, {"cache": [{"id": missing}]})
    assert (answer.status, answer.fault[1]) == (400, f"Image {missing} could not be found.")
    for bad in ({"cache": []}, {"cache": [{"id": "x"}]}, {}, {"cache": [{}]}):
        assert (await admin.post(path, bad)).status == 400
    answer = await admin.post(f"{AGGREGATES}/99/images", {"cache": [{"id": IMAGE}]})
    assert answer.status == 404
    assert (await world.admin.at("2.80").post(path, {"cache": [{"id": IMAGE}]})).status == 404


async def test_each_living_host_of_the_aggregate_is_told_to_cache_images(world: World) -> None:
    path = f"{AGGREGATES}/{await made(world, 'ssd', hosts=tuple(HOST_NAMES))}"
    world.fleet.silent.add(HOSTS[1])
    answer = await world.admin.at("2.81").post(f"{path}/images", {"cache": [{"id": IMAGE}]})
    assert answer.status == 202
    assert sorted(world.hosts.told) == sorted((host, [IMAGE]) for host in (HOSTS[0], HOSTS[2]))
    world.hosts.fall_silent()  # after its last sign of life: nobody's fault, and nobody is told
    answer = await world.admin.at("2.81").post(f"{path}/images", {"cache": [{"id": IMAGE}]})
    assert answer.status == 202


async def test_an_image_without_bytes_is_not_cached(world: World) -> None:
    path = f"{AGGREGATES}/{await made(world, 'ssd')}/images"
    queued = "77777777-7777-4777-8777-777777777777"
    create = ImageCreate(image_id=ImageId(queued), project_id=world.admin.project_id, name="queued")
    await world.do(create)
    answer = await world.admin.at("2.81").post(path, {"cache": [{"id": queued}]})
    assert (answer.status, answer.fault[1]) == (400, f"Image {queued} is not active.")


async def test_a_zone_is_seen_wherever_zones_are(world: World) -> None:
    await made(world, "north", "north", hosts=("h1",))
    await made(world, "south", "south", hosts=("h3",))  # which says rack2 of itself
    zones = (await world.alice.get("/os-availability-zone")).json["availabilityZoneInfo"]
    assert [zone["zoneName"] for zone in zones] == ["north", "nova", "south"]
    zones = (await world.admin.get("/os-availability-zone/detail")).json["availabilityZoneInfo"]
    assert {zone["zoneName"]: list(zone["hosts"]) for zone in zones if zone["zoneName"] != "internal"} == {
        "north": ["h1"],
        "nova": ["h2"],
        "south": ["h3"],
    }
    services = (await world.admin.get("/os-services?binary=nova-compute")).json["services"]
    assert [service["zone"] for service in services] == ["north", "nova", "south"]
    server_id = await world.active(world.alice)
    shown = (await world.alice.get(f"/servers/{server_id}")).json["server"]
    assert shown["OS-EXT-AZ:availability_zone"] == "north"
    for zone, found in (("north", [server_id]), ("nova", [])):
        listed = (await world.admin.get(f"/servers?availability_zone={zone}&all_tenants=1")).json["servers"]
        assert [server["id"] for server in listed] == found


async def test_a_zone_that_is_asked_for_is_pinned(world: World) -> None:
    await made(world, "north", "north", hosts=("h1",))
    answer = await create(world, availability_zone="north")
    assert answer.status == 202
    path = f"/servers/{answer.json['server']['id']}"
    assert (await world.alice.at("2.96").get(path)).json["server"]["pinned_availability_zone"] == "north"
    assert "pinned_availability_zone" not in (await world.alice.at("2.95").get(path)).json["server"]
    free = f"/servers/{(await create(world)).json['server']['id']}"
    assert (await world.alice.at("2.96").get(free)).json["server"]["pinned_availability_zone"] is None
    await made(world, "empty", "empty")
    for nowhere in ("empty", "moon"):
        answer = await create(world, availability_zone=nowhere)
        assert answer.fault == ("badRequest", "The requested availability zone is not available")


async def create(world: World, **fields: Any) -> Answer:
    wanted = {"name": "web", "imageRef": IMAGE, "flavorRef": "1", **fields}
    return await world.alice.post("/servers", {"server": wanted})
