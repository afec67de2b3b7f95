"""The local socket's routes: bounds on what comes in, and every error as {"error": ...}."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from fabric.api.local.app import BODY_BYTES_MAX, TTL_S_MAX, USES_MAX, build_local_app
from fabric.runtime.events import EventLog
from fabric.runtime.node_identity import IdentityError
from tests.fixtures.local_agent import local_parts
from tests.fixtures.membership_nodes import FakeNode
from tests.fixtures.mesh_view_double import MeshDouble, TwoClocks, link_to, member_named
from tests.fixtures.peer_rpc_double import Peer
from tests.fixtures.prometheus_parser import parse_strictly

made_tokens: list[tuple[int, int]] = []


async def make_token(ttl_s: int, uses: int) -> str:
    if uses == 13:
        raise IdentityError("not on this node")
    if uses == 14:
        raise ValueError("a secret that must not be shown")
    made_tokens.append((ttl_s, uses))
    return "fabric1.x"


@pytest.fixture
async def events() -> EventLog:
    return EventLog(TwoClocks())


@pytest.fixture
async def client(events: EventLog) -> AsyncIterator[TestClient[Any, Any]]:
    made_tokens.clear()
    view = MeshDouble([member_named("me"), member_named("a"), member_named("silent")], [link_to("a")])
    parts = local_parts(view, {FakeNode("a").node_id: Peer()}, events=events, create_token=make_token)
    async with TestClient(TestServer(build_local_app(parts))) as made:
        yield made


READS = ["/members", "/links", "/leaders", "/capacity", "/status", "/events", "/host/network", "/doctor/mesh"]


@pytest.mark.parametrize("path", READS)
async def test_every_read_answers_json(client: TestClient[Any, Any], path: str) -> None:
    answer = await client.get(path)
    assert answer.status == 200
    assert isinstance(await answer.json(), list | dict)


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/placement/capacity?by=rack", "by: one of host, zone, aggregate"),
        ("/placement/rebalance?max_moves=0", "max_moves: must be a whole number from 1 to 100"),
        ("/placement/rebalance?max_moves=many", "max_moves"),
    ],
)
async def test_bad_questions_about_placement_are_named(
    client: TestClient[Any, Any], path: str, named: str
) -> None:
    answer = await client.get(path)
    assert answer.status == 400
    assert named in (await answer.json())["error"]


async def test_a_body_that_is_no_json_is_refused_by_explain(client: TestClient[Any, Any]) -> None:
    answer = await client.post("/placement/explain", data=b"{")
    assert answer.status == 400
    assert "not JSON" in (await answer.json())["error"]


async def test_a_token_within_bounds(client: TestClient[Any, Any]) -> None:
    answer = await client.post("/token", json={"ttl_s": TTL_S_MAX, "uses": USES_MAX})
    assert await answer.json() == {"token": "fabric1.x"}
    assert made_tokens == [(TTL_S_MAX, USES_MAX)]


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 50_000, "not JSON"),
        (b"[]", "ttl_s"),
        (b"{}", "ttl_s"),
        (json.dumps({"ttl_s": 0, "uses": 1}).encode(), "ttl_s"),
        (json.dumps({"ttl_s": True, "uses": 1}).encode(), "ttl_s"),
        (json.dumps({"ttl_s": TTL_S_MAX + 1, "uses": 1}).encode(), "ttl_s"),
        (json.dumps({"ttl_s": 1.5, "uses": 1}).encode(), "ttl_s"),
        (json.dumps({"ttl_s": 60, "uses": "1"}).encode(), "uses"),
        (json.dumps({"ttl_s": 60, "uses": USES_MAX + 1}).encode(), "uses"),
    ],
)
async def test_a_bad_body_is_400_and_names_the_field(
    client: TestClient[Any, Any], body: bytes, word: str
) -> None:
    answer = await client.post("/token", data=body)
    assert answer.status == 400
    assert word in (await answer.json())["error"]
    assert made_tokens == []


async def test_other_errors(client: TestClient[Any, Any]) -> None:
    refused = await client.post("/token", json={"ttl_s": 60, "uses": 13})
    assert refused.status == 409
    assert await refused.json() == {
        "error": "not on this node",
        "code": "fabric.identity",
        "outcome": "not_done",
    }
    broken = await client.post("/token", json={"ttl_s": 60, "uses": 14})
    assert broken.status == 500
    assert "secret" not in await broken.text()
    assert (await client.get("/nothing")).status == 404
    assert (await client.put("/token")).status == 405
    assert (await client.post("/token", data=b" " * (BODY_BYTES_MAX + 1))).status == 413


async def test_followers_get_past_and_present(client: TestClient[Any, Any], events: EventLog) -> None:
    events.add("role.granted", "h1", {"role": "api"})
    async with client.get("/events?follow=1") as answer:
        assert json.loads(await answer.content.readline())["event"] == "role.granted"
        events.add("member.alive", "h2")
        assert json.loads(await answer.content.readline())["node"] == "h2"


# -- the mesh


async def test_status_tells_of_this_nodes_part_in_the_mesh(client: TestClient[Any, Any]) -> None:
    status = await (await client.get("/status")).json()
    assert status["ready"] is True
    assert status["mesh"]["members"] == 3
    assert status["mesh"]["isolated"] is False


async def test_metrics_are_text_that_parses(client: TestClient[Any, Any]) -> None:
    answer = await client.get("/metrics")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert parse_strictly(await answer.text())["x"].value() == 1


async def test_one_echo(client: TestClient[Any, Any]) -> None:
    came_back = await (await client.get("/ping?node=a&size=1000")).json()
    assert (came_back["node"], came_back["size"], came_back["state"]) == ("a", 1000, "alive")
    assert came_back["rtt_ms"] >= 0
    lost = await (await client.get("/ping?node=silent")).json()
    assert (lost["code"], "rtt_ms" in lost) == ("fabric.mesh.unreachable", False)
    nobody = await client.get("/ping?node=nobody")
    assert nobody.status == 409
    assert (await nobody.json())["code"] == "fabric.operate.no_such_node"


@pytest.mark.parametrize(
    "query",
    [
        "size=-1",
        "size=65537",
        "size=x",
        "size=",
        "size=\u0661",
        "timeout_ms=0",
        "timeout_ms=99999999999999999999",
    ],
)
async def test_a_bad_ping_is_400_and_names_the_parameter(client: TestClient[Any, Any], query: str) -> None:
    answer = await client.get(f"/ping?node=a&{query}")
    assert answer.status == 400
    assert query.partition("=")[0] in (await answer.json())["error"]


async def test_the_doctor_looks_at_those_named(client: TestClient[Any, Any]) -> None:
    told = await (await client.get("/doctor/mesh?node=a")).json()
    assert [peer["name"] for peer in told["peers"]] == ["a"]
    assert (await client.get("/doctor/mesh?node=nobody")).status == 409
    assert (await client.get("/doctor/mesh?" + "&".join(["node=a"] * 65))).status == 400
