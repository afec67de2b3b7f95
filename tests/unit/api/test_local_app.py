"""The local socket's routes: bounds on what comes in, and every error as {"error": ...}."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from fabric.api.local.app import BODY_BYTES_MAX, TTL_S_MAX, USES_MAX, LocalParts, build_local_app
from fabric.runtime.events import EventLog
from fabric.runtime.node_identity import IdentityError
from tests.fixtures.compute_doubles import FleetDouble
from tests.unit.test_agent_roles import Clock

made_tokens: list[tuple[int, int]] = []


async def make_token(ttl_s: int, uses: int) -> str:
    if uses == 13:
        raise IdentityError("not on this node")
    if uses == 14:
        raise ValueError("a secret that must not be shown")
    made_tokens.append((ttl_s, uses))
    return "fabric1.x"


async def no_network() -> dict[str, Any]:
    return {"taps": []}


@pytest.fixture
async def events() -> EventLog:
    return EventLog(Clock())


@pytest.fixture
async def client(events: EventLog) -> AsyncIterator[TestClient[Any, Any]]:
    made_tokens.clear()
    parts = LocalParts(
        fleet=FleetDouble(),
        clock=Clock(),
        events=events,
        status=lambda: {"ready": True},
        create_token=make_token,
        host_network=no_network,
    )
    async with TestClient(TestServer(build_local_app(parts))) as made:
        yield made


@pytest.mark.parametrize("path", ["/members", "/leaders", "/capacity", "/status", "/events", "/host/network"])
async def test_every_read_answers_json(client: TestClient[Any, Any], path: str) -> None:
    answer = await client.get(path)
    assert answer.status == 200
    assert isinstance(await answer.json(), list | dict)


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
