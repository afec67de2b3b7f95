"""Exactly the fields of each microversion, and what is in them."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from fabric.core.servers.states import PowerState
from proto.commands.catalog import ImageActivate, ImageCreate, ImageDelete
from proto.commands.nodes import HostUpdate
from proto.ids import ImageId
from tests.api.compute.world import FLAVOR, HOSTS, IMAGE, Person, World

SAMPLE: dict[str, Any] = json.loads((Path(__file__).parent / "samples/server_fields.json").read_text())
_TO_96 = (1, 2, 3, 8, 9, 15, 16, 18, 19, 25, 26, 46, 47, 62, 63, 70, 71, 72, 73, 74, 75, 89, 90, 95, 96)
MINORS = (*_TO_96, 97, 99, 100, 104)


def fields(table: str, minor: int) -> set[str]:
    return {
        name
        for version, names in SAMPLE[table].items()
        if int(version.partition(".")[2]) <= minor
        for name in names
    }


@pytest.mark.parametrize("who", ["member", "admin"])
async def test_every_version_has_its_fields_and_no_other(world: World, who: str) -> None:
    server_id = await world.active(world.alice)
    person: Person = world.alice if who == "member" else world.admin
    for minor in MINORS:
        expected = fields("member", minor) | (fields("admin", minor) if who == "admin" else set())
        asking = person.at(f"2.{minor}")
        shown = await asking.get(f"/servers/{server_id}")
        assert set(shown.json["server"]) == expected | fields("show_only", minor), minor
        listed = await asking.get("/servers/detail?all_tenants=1" if who == "admin" else "/servers/detail")
        assert set(listed.json["servers"][0]) == expected, minor
        brief = await asking.get("/servers?all_tenants=1" if who == "admin" else "/servers")
        assert set(brief.json["servers"][0]) == {"id", "name", "links"}, minor
        changed = await asking.put(f"/servers/{server_id}", {"server": {"name": f"n{minor}"}})
        after = expected | fields("show_only", minor) if minor >= 75 else fields("update_below_2.75", minor)
        assert set(changed.json["server"]) == after, minor
        for answer in (shown, listed, brief, changed):
            assert answer.status == 200
            assert answer.headers["openstack-api-version"] == f"compute 2.{minor}"
            assert answer.headers["x-openstack-nova-api-version"] == f"2.{minor}"


async def test_the_flavor_is_embedded_from_2_47(world: World) -> None:
    server_id = await world.active(world.alice)
    before = (await world.alice.at("2.46").get(f"/servers/{server_id}")).json["server"]["flavor"]
    assert before == {
        "id": FLAVOR,
        "links": [{"rel": "bookmark", "href": f"{world.alice.url}/compute/flavors/{FLAVOR}"}],
    }
    after = (await world.alice.at("2.47").get(f"/servers/{server_id}")).json["server"]["flavor"]
    assert after == {
        "original_name": "m1.tiny",
        "vcpus": 1,
        "ram": 512,
        "disk": 1,
        "ephemeral": 0,
        "swap": 0,
        "extra_specs": {},
    }


async def test_the_images_properties_are_beside_it_from_2_98(world: World) -> None:
    image_id = "44444444-4444-4444-8444-444444444444"
    properties = {
        "hw_disk_bus": "scsi",
        "os_distro": "debian",
        "architecture": "x86_64",  # a former name
        "os_command_line": "x" * 300,
        "img_mappings": "[]",  # lays out disks
        "mine": "seen in Image",
    }
    await world.do(
        ImageCreate(
            image_id=ImageId(image_id),
            project_id=world.admin.project_id,
            name="tuned",
            visibility="public",
            disk_format="qcow2",
            container_format="bare",
            properties=properties,
        )
    )
    size = {"size_bytes": 1, "virtual_bytes": 1, "node_id": HOSTS[0]}
    sums = {"md5": "1" * 32, "sha512": "1" * 128, "sha256": "1" * 64}
    await world.do(ImageActivate(image_id=ImageId(image_id), **size, **sums))
    server_id = await world.active(world.alice, imageRef=image_id)

    async def shown(version: str) -> list[dict[str, Any]]:
        alice = world.alice.at(version)
        answers = [
            (await alice.get(f"/servers/{server_id}")).json["server"],
            (await alice.put(f"/servers/{server_id}", {"server": {"name": "n"}})).json["server"],
            (await alice.get("/servers/detail")).json["servers"][0],
        ]
        return [answer["image"] for answer in answers]

    for image in await shown("2.97"):
        assert set(image) == {"id", "links"}
    for image in await shown("2.98"):
        assert (set(image), image["id"]) == ({"id", "links", "properties"}, image_id)
        assert image["properties"] == {
            "hw_disk_bus": "scsi",
            "os_distro": "debian",
            "architecture": "x86_64",
            "os_command_line": "x" * 255,
        }
    await world.do(ImageDelete(image_id=ImageId(image_id)))
    for image in await shown("2.98"):
        assert image["properties"] == {}


async def test_hints_are_shown_as_lists_from_2_100(world: World) -> None:
    group = {"server_group": {"name": "g", "policies": ["anti-affinity"]}}
    group_id = (await world.alice.post("/os-server-groups", group)).json["server_group"]["id"]
    other = await world.active(world.alice, "other")
    hints = {"group": group_id, "different_host": other, "mine": ["a", "b"]}
    wanted = {"name": "web", "imageRef": IMAGE, "flavorRef": FLAVOR}
    answer = await world.alice.post("/servers", {"server": wanted, "os:scheduler_hints": hints})
    server_id = answer.json["server"]["id"]
    alice = world.alice.at("2.100")
    told = {"different_host": [other], "group": [group_id], "mine": ["a", "b"]}
    assert (await alice.get(f"/servers/{server_id}")).json["server"]["scheduler_hints"] == told
    answer = await alice.put(f"/servers/{server_id}", {"server": {"name": "n"}})
    assert answer.json["server"]["scheduler_hints"] == told
    listed = (await alice.get("/servers/detail")).json["servers"]
    assert {each["id"]: each["scheduler_hints"] for each in listed} == {server_id: told, other: {}}


async def test_values_of_an_active_server(world: World) -> None:
    server_id = await world.active(world.alice, host=1, networks="auto", config_drive=True)
    shown = (await world.admin.at("2.96").get(f"/servers/{server_id}")).json["server"]
    assert shown["status"] == "ACTIVE"
    assert (shown["OS-EXT-STS:vm_state"], shown["OS-EXT-STS:task_state"]) == ("active", None)
    assert shown["OS-EXT-STS:power_state"] == 1
    assert shown["OS-EXT-AZ:availability_zone"] == "nova"
    assert shown["OS-EXT-SRV-ATTR:host"] == "h2"
    assert shown["host_status"] == "UP"
    assert shown["config_drive"] == "True"
    assert shown["image"]["id"] == IMAGE
    assert shown["hostId"] == hashlib.sha224(f"{world.alice.project_id}h2".encode()).hexdigest()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", shown["created"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}", shown["OS-SRV-USG:launched_at"])
    ((name, (address,)),) = shown["addresses"].items()
    assert name == "public"
    assert set(address) == {"version", "addr", "OS-EXT-IPS:type", "OS-EXT-IPS-MAC:mac_addr"}
    assert (address["version"], address["OS-EXT-IPS:type"]) == (4, "fixed")
    ips = (await world.alice.get(f"/servers/{server_id}/ips")).json
    assert ips == {"addresses": {"public": [{"version": 4, "addr": address["addr"]}]}}
    assert (await world.alice.get(f"/servers/{server_id}/ips/public")).json == ips["addresses"]
    assert (await world.alice.get(f"/servers/{server_id}/ips/lan")).status == 404
    groups = (await world.alice.get(f"/servers/{server_id}/os-security-groups")).json["security_groups"]
    assert [group["name"] for group in groups] == ["default"]
    assert {rule["group"]["name"] for rule in groups[0]["rules"]} == {"default"}


async def test_a_server_on_no_host_and_one_that_found_none(world: World) -> None:
    server_id = await world.boot(world.alice)
    shown = (await world.admin.at("2.96").get(f"/servers/{server_id}")).json["server"]
    assert (shown["status"], shown["OS-EXT-STS:task_state"]) == ("BUILD", "scheduling")
    assert (shown["hostId"], shown["OS-EXT-SRV-ATTR:host"], shown["host_status"]) == ("", None, "")
    assert shown["OS-SRV-USG:launched_at"] is None
    await world.fail_placement(server_id)
    shown = (await world.alice.get(f"/servers/{server_id}")).json["server"]
    assert shown["status"] == "ERROR"
    assert set(shown["fault"]) == {"code", "created", "message"}
    assert shown["fault"]["message"] == "No valid host was found."
    assert "progress" not in shown
    shown = (await world.admin.get(f"/servers/{server_id}")).json["server"]
    assert shown["fault"]["details"] == "h1: 512 MB of RAM missing"


async def test_host_status_says_what_is_known_of_the_host(world: World) -> None:
    server_id = await world.active(world.alice)

    async def status() -> str:
        shown = await world.admin.at("2.16").get(f"/servers/{server_id}")
        return str(shown.json["server"]["host_status"])

    world.fleet.silent.add(HOSTS[0])
    assert await status() == "UNKNOWN"
    world.fleet.silent.clear()
    await world.do(HostUpdate(host_id=HOSTS[0], enabled=False))
    assert await status() == "MAINTENANCE"
    await world.do(HostUpdate(host_id=HOSTS[0], forced_down=True))
    assert await status() == "DOWN"


async def test_a_stopped_server(world: World) -> None:
    server_id = await world.active(world.alice)
    assert (await world.alice.post(f"/servers/{server_id}/action", {"os-stop": None})).status == 202
    shown = (await world.alice.get(f"/servers/{server_id}")).json["server"]
    assert (shown["status"], shown["OS-EXT-STS:task_state"]) == ("ACTIVE", "powering-off")
    await world.settle(server_id, PowerState.SHUTDOWN)
    shown = (await world.alice.get(f"/servers/{server_id}")).json["server"]
    assert (shown["status"], shown["OS-EXT-STS:power_state"]) == ("SHUTOFF", 4)


async def test_paths_with_the_project_and_without_versions(world: World) -> None:
    server_id = await world.boot(world.alice)
    project = world.alice.project_id
    shown = await world.alice.get(f"/{project}/servers/{server_id}")
    assert shown.status == 200
    links = shown.json["server"]["links"]
    assert links[0]["href"] == f"{world.alice.url}/compute/v2.1/{project}/servers/{server_id}"
    answer = await world.alice.get(f"/{world.bob.project_id}/servers/{server_id}")
    assert answer.status == 400
    assert "doesn't match" in answer.fault[1]
    old = await world.alice.at("2.96").get(f"/servers/{server_id}", root="/compute/v2")
    assert set(old.json["server"]) == fields("member", 1)
    assert old.json["server"]["links"][0]["href"].startswith(f"{world.alice.url}/compute/v2/servers/")
    assert "openstack-api-version" not in old.headers
