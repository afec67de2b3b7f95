"""Issue 2, item 5: bad input is a 4xx that names the field, and nothing changes. For POST /servers, and
for what all Compute calls share: tokens, versions, bodies, paths."""

from __future__ import annotations

import base64
import json
from typing import Any

from fabric.core.servers.queries import ListServers
from proto.ids import new_uuid
from tests.api.compute.world import FLAVOR, IMAGE, NETWORK, World

GOOD: dict[str, Any] = {"name": "web-1", "imageRef": IMAGE, "flavorRef": FLAVOR}
LONG = "n" * 10_000

BAD: list[tuple[str, dict[str, Any], str]] = [
    ("2.1", {"name": ...}, "'name' is a required property"),
    ("2.1", {"flavorRef": ...}, "'flavorRef' is a required property"),
    ("2.1", {"imageRef": ...}, "imageRef"),
    ("2.1", {"name": ""}, "name"),
    ("2.1", {"name": LONG}, "name"),
    ("2.1", {"name": " x"}, "name"),
    ("2.1", {"name": None}, "name"),
    ("2.1", {"name": ["a"]}, "name"),
    ("2.1", {"name": "nul\x00"}, "name"),
    ("2.1", {"name": "bell\x07"}, "name"),
    ("2.1", {"unknown": 1}, "Additional properties are not allowed ('unknown' was unexpected)"),
    ("2.1", {"imageRef": "not-a-uuid"}, "imageRef"),
    ("2.1", {"imageRef": new_uuid()}, "imageRef"),
    ("2.1", {"imageRef": 5}, "imageRef"),
    ("2.1", {"flavorRef": "no such"}, "flavorRef"),
    ("2.1", {"flavorRef": ""}, "flavorRef"),
    ("2.1", {"flavorRef": LONG}, "flavorRef"),
    ("2.1", {"flavorRef": {"id": 1}}, "flavorRef"),
    ("2.1", {"key_name": "no such key"}, "key_name"),
    ("2.1", {"key_name": LONG}, "key_name"),
    ("2.1", {"metadata": {"k" * 256: "v"}}, "metadata"),
    ("2.1", {"metadata": {"k": "v" * 256}}, "metadata"),
    ("2.1", {"metadata": {"k": 5}}, "metadata"),
    ("2.1", {"metadata": ["k"]}, "metadata"),
    ("2.1", {"user_data": "not base64!"}, "user_data"),
    ("2.1", {"user_data": base64.b64encode(b"x" * 49_200).decode()}, "user_data"),
    ("2.1", {"user_data": 5}, "user_data"),
    ("2.1", {"config_drive": "perhaps"}, "config_drive"),
    ("2.1", {"min_count": 0}, "min_count"),
    ("2.1", {"min_count": "0"}, "min_count"),
    ("2.1", {"min_count": 3, "max_count": 2}, "min_count must be <= max_count"),
    ("2.1", {"max_count": 10**9}, "max_count"),
    ("2.1", {"max_count": 1.5}, "max_count"),
    ("2.1", {"max_count": 10**30}, "max_count"),
    ("2.1", {"max_count": "9" * 400}, "max_count"),
    ("2.1", {"availability_zone": "moon"}, "availability zone"),
    ("2.1", {"availability_zone": LONG}, "availability_zone"),
    ("2.1", {"security_groups": [{"name": "no such"}]}, "Security group no such"),
    ("2.1", {"security_groups": ["default"]}, "security_groups"),
    ("2.1", {"security_groups": [{"id": "x"}]}, "security_groups"),
    ("2.1", {"security_groups": [{"name": "x"}] * 300}, "security_groups"),
    ("2.1", {"networks": [{"uuid": NETWORK}] * 300}, "networks"),
    ("2.1", {"networks": {"uuid": NETWORK}}, "networks"),
    ("2.1", {"networks": [NETWORK]}, "networks"),
    ("2.1", {"OS-DCF:diskConfig": "SOMETIMES"}, "OS-DCF:diskConfig"),
    ("2.1", {"adminPass": "x" * 300}, "adminPass"),
    ("2.18", {"description": "early"}, "description"),
    ("2.19", {"description": LONG}, "description"),
    ("2.51", {"networks": "none", "tags": ["early"]}, "tags"),
    ("2.52", {"networks": "none", "tags": ["a,b"]}, "tags"),
    ("2.52", {"networks": "none", "tags": [str(n) for n in range(51)]}, "tags"),
    ("2.36", {"networks": "none"}, "networks"),
    ("2.37", {"networks": "all"}, "networks"),
    ("2.42", {"networks": [{"uuid": NETWORK, "tag": "nic1"}]}, "tag"),
    ("2.57", {"networks": "none", "personality": []}, "personality"),
    ("2.73", {"networks": "none", "host": "h1"}, "host"),
    ("2.89", {"networks": "none", "hostname": "early"}, "hostname"),
    ("2.90", {"networks": "none", "hostname": "-x-"}, "hostname"),
    ("2.90", {"networks": "none", "hostname": "h" * 64}, "hostname"),
]


async def test_a_bad_create_names_the_field_and_changes_nothing(world: World) -> None:
    assert (await world.alice.post("/servers", {"server": GOOD | {"networks": []}})).status == 202
    before = world.cloud.state.applied_index  # the project has its default group now
    for version, change, says in BAD:
        wanted = {key: value for key, value in (GOOD | change).items() if value is not ...}
        answer = await world.alice.at(version).post("/servers", {"server": wanted})
        assert answer.status == 400, (change, answer.data)
        name, message = answer.fault
        assert name == "badRequest"
        assert says in message, (change, message)
        assert len(message) < 2_000, change
        assert world.cloud.state.applied_index == before, change


BROKEN: list[tuple[bytes, int]] = [
    (b"{", 400),
    (b"", 400),
    (b"null", 400),
    (b"[]", 400),
    (b'"server"', 400),
    (b'{"server": }', 400),
    (b'{"server": {"name": NaN}}', 400),
    (b'{"server": {"name": 1e999}}', 400),
    (b"\xff\xfe{}", 400),
    (b"[" * 100_000, 400),
    (b'{"a":' * 60 + b"1" + b"}" * 60, 400),
    (b'{"server": {"name": "' + b"x" * 300_000 + b'"}}', 413),
    (json.dumps({"servers": {}}).encode(), 400),
    (json.dumps({"server": GOOD, "more": 1}).encode(), 400),
]


async def test_bodies_that_are_no_request(world: World) -> None:
    for data, status in BROKEN:
        answer = await world.alice.ask("POST", "/servers", data=data)
        assert answer.status == status, (data[:80], answer.data)
        assert answer.fault[0] in ("badRequest", "overLimit")
    assert await world.cloud.state.read(ListServers()) == ()


async def test_the_secret_of_a_refused_request_is_not_told_back(world: World) -> None:
    answer = await world.alice.post("/servers", {"server": GOOD | {"adminPass": "hunter2" * 100}})
    assert answer.status == 400
    assert b"hunter2" not in answer.data


async def test_tokens(world: World) -> None:
    for headers in ({"X-Auth-Token": ""}, {"X-Auth-Token": "nonsense"}, {"X-Auth-Token": "x" * 5_000}):
        answer = await world.alice.get("/servers", headers=headers)
        assert answer.status == 401
        assert answer.fault[0] == "unauthorized"
        assert answer.headers["www-authenticate"].startswith("Keystone uri=")


async def test_versions_that_are_not_served(world: World) -> None:
    for version, status in (
        ("2.9999", 406),
        ("2.105", 406),
        ("2.0", 406),
        ("3.1", 406),
        ("1.1", 406),
        ("two", 400),
        ("2", 400),
    ):
        answer = await world.alice.at(version).get("/servers")
        assert answer.status == status
        _, message = answer.fault
        assert version in message
        if status == 406:
            assert message == (
                f"Version {version} is not supported by the API. Minimum is 2.1 and maximum is 2.104."
            )


async def test_versions_and_request_ids_in_answers(world: World) -> None:
    for version, named in (("latest", "2.104"), ("2.50", "2.50"), (None, "2.1")):
        for path, status in (("/servers", 200), (f"/servers/{new_uuid()}", 404)):
            answer = await world.alice.at(version).get(path)
            assert answer.status == status
            assert answer.headers["openstack-api-version"] == f"compute {named}"
            assert answer.headers["x-openstack-nova-api-version"] == named
            assert "OpenStack-API-Version" in answer.headers["vary"]
            assert "X-OpenStack-Nova-API-Version" in answer.headers["vary"]
            assert answer.headers["x-openstack-request-id"] == answer.headers["x-compute-request-id"]
            assert answer.headers["x-openstack-request-id"].startswith("req-")


async def test_paths_and_methods(world: World) -> None:
    assert (await world.alice.get("/no-such-thing")).fault[0] == "itemNotFound"
    assert (await world.alice.ask("PATCH", "/servers")).status == 405
    assert (await world.alice.get("/servers/")).status == 200
    assert (await world.alice.ask("HEAD", "/servers")).status == 200
    assert (await world.alice.get("/servers/" + "x" * 4_000)).status == 404
    assert (await world.alice.get("/servers/..%2f..%2fetc")).status == 404
    assert (await world.alice.get(f"/servers/{new_uuid().upper()}")).status == 404
    answer = await world.alice.ask(
        "POST", "/servers", data=b"<server/>", headers={"Content-Type": "application/xml"}
    )
    assert answer.status == 415
