"""What 2.97 to 2.103 add and take away beside fields: shares, strict queries, `os-volumes_boot`."""

from __future__ import annotations

from typing import Any

from fabric.api.compute.routes import ROUTES
from fabric.api.microversion import MAX
from fabric.core.servers.states import PowerState
from proto.ids import new_uuid
from tests.api.compute.world import FLAVOR, IMAGE, World

READS = [  # at the newest version
    route
    for route in ROUTES
    if route.method == "GET" and route.serves(MAX) and "url_project_id" not in route.path
]
SHARE: dict[str, Any] = {"share": {"share_id": "55555555-5555-4555-8555-555555555555"}}
SHARE_ID: str = SHARE["share"]["share_id"]


async def test_no_server_has_a_share(world: World) -> None:
    server_id = await world.active(world.alice)
    path = f"/servers/{server_id}/shares"
    alice = world.alice.at("2.97")
    assert (await alice.get(path)).json == {"shares": []}
    assert (await world.reader.at("2.97").get(path)).json == {"shares": []}
    answer = await alice.get(f"{path}/{SHARE_ID}")
    assert (answer.status, answer.fault[1]) == (404, f"Share {SHARE_ID} could not be found.")
    for method, to in (("GET", ""), ("POST", ""), ("GET", f"/{SHARE_ID}"), ("DELETE", f"/{SHARE_ID}")):
        body = SHARE if method == "POST" else None
        assert (await world.alice.at("2.96").ask(method, path + to, body)).status == 404
        answer = await world.bob.at("2.97").ask(method, path + to, body)
        assert (answer.status, answer.fault[1]) == (404, f"Instance {server_id} could not be found.")


async def test_a_share_is_refused_with_its_reason(world: World) -> None:
    server_id = await world.active(world.alice)
    path = f"/servers/{server_id}/shares"
    alice = world.alice.at("2.97")
    for answer, verb in (
        (await alice.post(path, SHARE), "create share"),
        (await alice.delete(f"{path}/{SHARE_ID}"), "delete share"),
    ):
        words = f"Cannot '{verb}' instance {server_id} while it is in vm_state active"
        assert (answer.status, answer.fault) == (409, ("conflictingRequest", words))
    await alice.post(f"/servers/{server_id}/action", {"os-stop": None})
    await world.settle(server_id, PowerState.SHUTDOWN)
    answer = await alice.post(path, SHARE)
    assert answer.status == 409
    assert "no host of this fabric can mount shared file systems" in answer.fault[1]
    assert (await alice.delete(f"{path}/{SHARE_ID}")).status == 404
    reader = world.reader.at("2.97")
    assert (await reader.post(path, SHARE)).status == 403
    assert (await reader.delete(f"{path}/{SHARE_ID}")).status == 403
    for bad in ({}, {"share": {}}, {"share": {"share_id": "x"}}, {"share": {**SHARE["share"], "tag": "a b"}}):
        assert (await alice.post(path, bad)).status == 400


async def test_no_get_takes_what_it_does_not_know(world: World) -> None:
    assert READS
    for route in READS:
        path = route.path.removeprefix("/v2.1").format_map(Blanks())
        answer = await world.admin.at(str(MAX)).get(f"{path}?nonsense=1")
        assert (answer.status, answer.fault[0]) == (400, "badRequest"), path
        assert "'nonsense' was unexpected" in answer.fault[1]


class Blanks(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return new_uuid()


async def test_what_a_get_does_not_know_is_let_pass_below_2_102(world: World) -> None:
    server_id = await world.active(world.alice)
    for path in (f"/servers/{server_id}", f"/flavors/{FLAVOR}", "/os-availability-zone", "/extensions"):
        for version, status in (("2.101", 200), ("2.102", 400)):
            assert (await world.alice.at(version).get(f"{path}?nonsense=1")).status == status, path


async def test_os_volumes_boot_is_another_name_for_servers_until_2_102(world: World) -> None:
    wanted = {"name": "web", "imageRef": IMAGE, "flavorRef": FLAVOR, "networks": "auto"}
    alice = world.alice.at("2.102")
    server_id = (await alice.post("/os-volumes_boot", {"server": wanted})).json["server"]["id"]
    shown = (await alice.get(f"/servers/{server_id}")).json
    assert (await alice.get(f"/os-volumes_boot/{server_id}")).json == shown
    assert shown["server"]["links"][0]["href"].endswith(f"/servers/{server_id}")
    for path in ("", "/detail"):
        assert [each["id"] for each in (await alice.get(f"/os-volumes_boot{path}")).json["servers"]] == [
            server_id
        ]
    changed = await alice.put(f"/os-volumes_boot/{server_id}", {"server": {"name": "n"}})
    assert changed.json["server"]["name"] == "n"
    gone = world.alice.at("2.103")
    for method, path, body in (
        ("GET", "", None),
        ("GET", "/detail", None),
        ("GET", f"/{server_id}", None),
        ("POST", "", {"server": wanted}),
        ("PUT", f"/{server_id}", {"server": {"name": "m"}}),
        ("DELETE", f"/{server_id}", None),
    ):
        assert (await gone.ask(method, f"/os-volumes_boot{path}", body)).status == 404, (method, path)
    assert (await alice.delete(f"/os-volumes_boot/{server_id}")).status == 204
    assert (await alice.get(f"/servers/{server_id}")).status == 404
