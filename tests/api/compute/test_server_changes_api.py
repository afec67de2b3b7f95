"""PUT, DELETE, actions, metadata, tags; other people's servers."""

from __future__ import annotations

from typing import Any

import pytest

from fabric.core.servers.queries import GetServer, ListServers
from fabric.core.servers.states import PowerState, TaskState
from fabric.errors import DeadlineExceededError, RemoteError
from proto.ids import ServerId
from tests.api.compute.world import HOSTS, World

NOBODY = "99999999-9999-4999-8999-999999999999"


async def test_rename_describe_and_hostname(world: World) -> None:
    server_id = await world.boot(world.alice)
    answer = await world.alice.at("2.90").put(
        f"/servers/{server_id}", {"server": {"name": "n", "description": "d", "hostname": "h-n"}}
    )
    assert answer.status == 200
    shown = answer.json["server"]
    assert (shown["name"], shown["description"], shown["OS-EXT-SRV-ATTR:hostname"]) == ("n", "d", "h-n")
    answer = await world.alice.at("2.19").put(f"/servers/{server_id}", {"server": {"description": None}})
    assert (answer.json["server"]["description"], answer.json["server"]["name"]) == (None, "n")
    assert (await world.alice.put(f"/servers/{server_id}", {"server": {}})).status == 200
    answer = await world.alice.put(f"/servers/{server_id}", {"server": {"accessIPv4": "1.1.1.1"}})
    assert answer.status == 400


BAD_CHANGES: list[tuple[Any, ...]] = [
    ("2.18", {"server": {"description": "early"}}),
    ("2.89", {"server": {"hostname": "early"}}),
    ("2.90", {"server": {"hostname": "under_score"}}),
    ("2.93", {"server": {"hostname": "a.b.c"}}),
    ("2.1", {"server": {"name": ""}}),
    ("2.1", {"server": {"name": " padded "}}),
    ("2.1", {"server": {"name": "n" * 256}}),
    ("2.1", {"server": {"name": 7}}),
    ("2.1", {"server": {"name": "tab\tin"}}),
    ("2.1", {"server": {"flavorRef": "1"}}),
    ("2.1", {"server": []}),
    ("2.1", {}),
    ("2.1", []),
]


async def test_changes_that_cannot_be(world: World) -> None:
    server_id = await world.boot(world.alice, "before")
    for version, body in BAD_CHANGES:
        answer = await world.alice.at(version).put(f"/servers/{server_id}", body)
        assert answer.status == 400
        assert (await world.server(server_id)).name == "before"


async def test_delete(world: World) -> None:
    unplaced = await world.boot(world.alice)
    answer = await world.alice.delete(f"/servers/{unplaced}")
    assert (answer.status, answer.data) == (204, b"")
    assert (await world.alice.get(f"/servers/{unplaced}")).status == 404
    placed = await world.active(world.alice)
    assert (await world.alice.delete(f"/servers/{placed}")).status == 204
    assert (await world.alice.delete(f"/servers/{placed}")).status == 204  # asking again does no harm
    shown = (await world.alice.get(f"/servers/{placed}")).json["server"]
    assert shown["OS-EXT-STS:task_state"] == "deleting"
    forced = await world.boot(world.alice)
    answer = await world.alice.post(f"/servers/{forced}/action", {"forceDelete": None})
    assert (answer.status, answer.headers["content-length"]) == (202, "0")
    assert await world.cloud.state.read(GetServer(server_id=ServerId(forced))) is None


async def test_power(world: World) -> None:
    server_id = await world.active(world.alice)
    path = f"/servers/{server_id}/action"
    for body, task in (
        ({"reboot": {"type": "SOFT"}}, TaskState.REBOOTING),
        ({"reboot": {"type": "hard"}}, TaskState.REBOOTING_HARD),
        ({"os-stop": None}, TaskState.POWERING_OFF),
        ({"os-start": None}, TaskState.POWERING_ON),
    ):
        answer = await world.alice.post(path, body)
        assert (answer.status, answer.data) == (202, b""), body
        assert (await world.server(server_id)).task_state is task
        busy = await world.alice.post(path, {"reboot": {"type": "HARD"}})
        assert busy.status == 409
        power = PowerState.SHUTDOWN if task is TaskState.POWERING_OFF else PowerState.RUNNING
        await world.settle(server_id, power)
    wrong = await world.alice.post(path, {"os-start": None})
    assert wrong.status == 409
    assert wrong.fault[1] == f"Cannot 'start' instance {server_id} while it is in vm_state active"


BAD_ACTIONS: list[tuple[Any, ...]] = [
    ({"dance": None}, 400, "There is no such action: dance"),
    ({"x" * 10_000: None}, 400, "There is no such action"),
    ({}, 400, "exactly one action"),
    ({"os-start": None, "os-stop": None}, 400, "exactly one action"),
    ({"reboot": {}}, 400, "type"),
    ({"reboot": {"type": "WARM"}}, 400, "type"),
    ({"reboot": None}, 400, "reboot"),
    ({"os-getConsoleOutput": {"length": "many"}}, 400, "length"),
    ({"os-getConsoleOutput": {"length": -2}}, 400, "length"),
    ({"os-getConsoleOutput": {"length": "-2"}}, 400, "length"),
    ({"resize": {"flavorRef": "2"}}, 501, "resize is not implemented yet"),
    ({"pause": None}, 501, "pause is not implemented yet"),
    ([1], 400, ""),
    ("os-start", 400, ""),
]


async def test_actions_that_cannot_be(world: World) -> None:
    server_id = await world.active(world.alice)
    for body, status, says in BAD_ACTIONS:
        before = await world.server(server_id)
        answer = await world.alice.post(f"/servers/{server_id}/action", body)
        assert answer.status == status
        assert says in answer.fault[1]
        assert await world.server(server_id) == before


async def test_a_locked_server_is_for_admins_only(world: World) -> None:
    server_id = await world.active(world.alice)
    path = f"/servers/{server_id}/action"
    lock = {"lock": {"locked_reason": "busy week"}}
    assert (await world.alice.at("2.72").post(path, {"lock": None})).status == 202
    assert (await world.alice.at("2.73").post(path, lock)).status == 202
    shown = (await world.alice.at("2.73").get(f"/servers/{server_id}")).json["server"]
    assert (shown["locked"], shown["locked_reason"]) == (True, "busy week")
    for refused in (
        await world.alice.post(path, {"os-stop": None}),
        await world.alice.delete(f"/servers/{server_id}"),
        await world.alice.put(f"/servers/{server_id}", {"server": {"name": "n"}}),
        await world.alice.put(f"/servers/{server_id}/metadata", {"metadata": {}}),
        await world.alice.at("2.26").delete(f"/servers/{server_id}/tags"),
    ):
        assert refused.status == 409
        assert refused.fault[1] == f"Instance {server_id} is locked"
    assert (await world.admin.post(path, {"os-stop": None})).status == 202
    assert (await world.alice.post(path, {"unlock": None})).status == 202
    shown = (await world.alice.at("2.73").get(f"/servers/{server_id}")).json["server"]
    assert (shown["locked"], shown["locked_reason"]) == (False, None)
    assert (await world.alice.delete(f"/servers/{server_id}")).status == 204


async def test_console(world: World) -> None:
    server_id = await world.boot(world.alice)
    path, ask = f"/servers/{server_id}/action", {"os-getConsoleOutput": {"length": 2}}
    early = await world.alice.post(path, ask)
    assert early.status == 409
    assert "not ready" in early.fault[1]
    await world.place(server_id, 1)
    world.hosts.console = "boot\x1b[0m\nlogin:\x07 \n"
    answer = await world.alice.post(path, {"os-getConsoleOutput": {}})
    assert (answer.status, answer.json) == (200, {"output": "boot[0m\nlogin: \n"})
    assert world.hosts.asked == [(HOSTS[1], server_id, None)]
    for length, lines in ((1, 1), ("2", 2), (-1, None), (None, None), (2**31 - 1, 100_000)):
        world.hosts.asked.clear()
        answer = await world.alice.post(path, {"os-getConsoleOutput": {"length": length}})
        assert answer.status == 200
        assert world.hosts.asked[0][2] == lines
    world.hosts.fall_silent()
    answer = await world.alice.post(path, ask)
    assert answer.status == 503
    assert "h2" in answer.fault[1]
    world.hosts.error = DeadlineExceededError("late")
    assert (await world.alice.post(path, ask)).status == 503
    world.hosts.error = RemoteError("fabric.driver", "no such file")
    answer = await world.alice.post(path, ask)
    assert answer.status == 409
    assert "no such file" in answer.fault[1]


async def test_metadata(world: World) -> None:
    server_id = await world.boot(world.alice, metadata={"a": "1"})
    path = f"/servers/{server_id}/metadata"
    assert (await world.alice.get(path)).json == {"metadata": {"a": "1"}}
    answer = await world.alice.post(path, {"metadata": {"b": "2"}})
    assert (answer.status, answer.json) == (200, {"metadata": {"a": "1", "b": "2"}})
    answer = await world.alice.put(path, {"metadata": {"c": "3"}})
    assert answer.json == {"metadata": {"c": "3"}}
    answer = await world.alice.put(f"{path}/d", {"meta": {"d": "4"}})
    assert (answer.status, answer.json) == (200, {"meta": {"d": "4"}})
    assert (await world.alice.get(f"{path}/d")).json == {"meta": {"d": "4"}}
    assert (await world.alice.put(f"{path}/d", {"meta": {"e": "4"}})).status == 400
    assert (await world.alice.delete(f"{path}/d")).status == 204
    for missing in (await world.alice.get(f"{path}/d"), await world.alice.delete(f"{path}/d")):
        assert missing.status == 404
        assert missing.fault[1] == "Metadata item was not found"
    many = {f"k{number}": "v" for number in range(129)}
    answer = await world.alice.put(path, {"metadata": many})
    assert answer.status == 403
    assert "metadata items" in answer.fault[1]
    for bad in ({"x" * 256: "v"}, {"x": "v" * 256}, {"x": 1}, {"": "v"}, {"a/b": "v"}):
        assert (await world.alice.post(path, {"metadata": bad})).status == 400
    assert (await world.alice.post(path, {"meta": {}})).status == 400
    assert (await world.alice.get(path)).json == {"metadata": {"c": "3"}}


async def test_tags(world: World) -> None:
    server_id = await world.boot(world.alice)
    path, alice = f"/servers/{server_id}/tags", world.alice.at("2.26")
    assert (await world.alice.at("2.25").get(path)).status == 404
    assert (await alice.put(path, {"tags": ["b", "a", "b"]})).json == {"tags": ["a", "b"]}
    made = await alice.put(f"{path}/c")
    assert (made.status, made.headers["location"]) == (
        201,
        f"{world.alice.url}/compute/v2.1/servers/{server_id}/tags/c",
    )
    assert (await alice.put(f"{path}/c")).status == 204
    assert (await alice.get(path)).json == {"tags": ["a", "b", "c"]}
    assert (await alice.get(f"{path}/c")).status == 204
    assert (await alice.delete(f"{path}/c")).status == 204
    assert (await alice.delete(f"{path}/c")).status == 404
    assert (await alice.get(f"{path}/c")).status == 404
    assert (await alice.put(f"{path}/{'t' * 61}")).status == 400
    assert (await alice.put(f"{path}/a,b")).status == 400
    for bad in (["t" * 61], ["a,b"], ["a/b"], [""], [1], [str(number) for number in range(51)], "a"):
        assert (await alice.put(path, {"tags": bad})).status == 400
    fifty = [str(number) for number in range(50)]
    assert (await alice.put(path, {"tags": fifty})).status == 200
    assert (await alice.put(f"{path}/more")).status == 400
    assert (await alice.delete(path)).status == 204
    assert (await alice.get(path)).json == {"tags": []}


CALLS: tuple[tuple[str, str, Any], ...] = (
    ("GET", "", None),
    ("PUT", "", {"server": {"name": "mine"}}),
    ("DELETE", "", None),
    ("POST", "/action", {"os-stop": None}),
    ("POST", "/action", {"reboot": {"type": "HARD"}}),
    ("POST", "/action", {"lock": None}),
    ("POST", "/action", {"unlock": None}),
    ("POST", "/action", {"forceDelete": None}),
    ("POST", "/action", {"os-getConsoleOutput": {}}),
    ("POST", "/action", {"resize": {"flavorRef": "1"}}),
    ("GET", "/ips", None),
    ("GET", "/ips/public", None),
    ("GET", "/os-security-groups", None),
    ("GET", "/metadata", None),
    ("POST", "/metadata", {"metadata": {"a": "b"}}),
    ("PUT", "/metadata", {"metadata": {"a": "b"}}),
    ("GET", "/metadata/a", None),
    ("PUT", "/metadata/a", {"meta": {"a": "b"}}),
    ("DELETE", "/metadata/a", None),
    ("GET", "/tags", None),
    ("PUT", "/tags", {"tags": ["a"]}),
    ("DELETE", "/tags", None),
    ("GET", "/tags/a", None),
    ("PUT", "/tags/a", None),
    ("DELETE", "/tags/a", None),
)


@pytest.mark.parametrize("whose", ["another project's", "nobody's", "not a uuid"])
async def test_servers_one_may_not_know_of_are_404_to_every_call(world: World, whose: str) -> None:
    server_id = await world.active(world.alice)
    before = await world.server(server_id)
    identity = {"another project's": server_id, "nobody's": NOBODY, "not a uuid": "web-1"}[whose]
    for method, tail, body in CALLS:
        answer = await world.bob.at("2.73").ask(method, f"/servers/{identity}{tail}", body)
        assert answer.status == 404, (method, tail, answer.data)
        assert answer.fault[0] == "itemNotFound"
        assert identity in answer.fault[1]
    assert await world.server(server_id) == before


async def test_readers_read_and_change_nothing(world: World) -> None:
    server_id = await world.active(world.alice)
    before = await world.server(server_id)
    for method, tail, body in CALLS:
        if "resize" in (body or ()):
            continue
        answer = await world.reader.at("2.72").ask(method, f"/servers/{server_id}{tail}", body)
        if method == "GET":
            assert answer.status in (200, 204, 404), (method, tail)
        elif (method, tail) in (("DELETE", "/metadata/a"), ("DELETE", "/tags/a")):
            assert answer.status in (403, 404)  # there is none, and seeing that is allowed
        else:
            assert answer.status == 403, (method, tail, answer.data)
    assert await world.server(server_id) == before
    assert len(await world.cloud.state.read(ListServers())) == 1
