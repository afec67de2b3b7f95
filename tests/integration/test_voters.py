"""A fabric whose log is held by several agents: it grows by itself, and goes on when a leader dies."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from fabric.dev.cloud_client import CloudAnswerError, CloudClient, CloudSilentError
from fabric.dev.up import PASSWORD_FILE
from fabric.errors import FabricError
from tests.fixtures.dev_fabric import Running, eventually, running_fabric

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]

WAIT_S = 120.0


@pytest.fixture(scope="module")
def fabric() -> Iterator[Running]:
    with running_fabric("sim", nodes=3, voters=0) as running:
        eventually(lambda: voting(running) == {"h1", "h2", "h3"}, timeout_s=WAIT_S, what="three voters")
        yield running


@pytest.fixture(autouse=True)
def _whole(fabric: Running) -> Iterator[None]:
    """Every test begins with three agents that run and hold the same."""
    yield
    for node in fabric.layout.nodes:
        if not node.is_running():
            fabric.cli("dev", "start", node.name)
    eventually(lambda: is_level(fabric), timeout_s=WAIT_S, what="three voters that hold the same")


def status(fabric: Running) -> dict[str, Any]:
    """As the leader sees it; empty while nobody can tell."""
    for node in fabric.layout.nodes:
        if node.is_running():
            done = fabric.cli("voters", "list", "--node", node.name, "--json", check=False)
            if done.returncode == 0 and (found := json.loads(done.stdout))["seen_from"] == "leader":
                return dict(found)
    return {}


def voting(fabric: Running) -> set[str]:
    rows = status(fabric).get("voters", [])
    return {row["node"] for row in rows if row["role"] in ("leader", "voter")}


def is_level(fabric: Running) -> bool:
    rows = status(fabric).get("voters", [])
    return len(rows) == 3 and all(row["lag"] == 0 and row["state"] == "alive" for row in rows)


def leader(fabric: Running) -> str:
    def find() -> str:
        rows = status(fabric).get("voters", [])
        return next((str(row["node"]) for row in rows if row["role"] == "leader"), "")

    return str(eventually(find, what="a leader"))


def cloud_of(fabric: Running, name: str) -> CloudClient:
    at = [node.name for node in fabric.layout.nodes].index(name)
    client = CloudClient(fabric.layout.api_urls[at])
    client.login("admin", (fabric.directory / PASSWORD_FILE).read_text(), "admin")
    return client


def flavor(name: str) -> dict[str, Any]:
    return {"flavor": {"name": name, "id": name, "ram": 64, "vcpus": 1, "disk": 1}}


def flavors(cloud: CloudClient) -> set[str]:
    return {row["name"] for row in cloud.get("/compute/v2.1/flavors")["flavors"]}


def test_every_voter_serves_the_api_and_shows_what_was_written_elsewhere(fabric: Running) -> None:
    for name in ("h1", "h2", "h3"):
        cloud_of(fabric, name).post("/compute/v2.1/flavors", flavor(f"at-{name}"))
    for name in ("h1", "h2", "h3"):
        cloud = cloud_of(fabric, name)
        eventually(lambda cloud=cloud: {"at-h1", "at-h2", "at-h3"} <= flavors(cloud), what="all flavors")
        with pytest.raises(CloudAnswerError) as refused:  # it looks first, and not at stale rows
            cloud.post("/compute/v2.1/flavors", flavor("at-h1"))
        assert refused.value.status == 409


def test_roles_are_spread_and_shown(fabric: Running) -> None:
    def roles() -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for row in json.loads(fabric.cli("leaders", "--json").stdout):
            found.setdefault(row["role"], set()).add(row["node"])
        return found

    eventually(lambda: roles().get("api") == {"h1", "h2", "h3"}, what="three API nodes")
    assert roles()["conductor"] == {leader(fabric)}
    assert len(roles()["scheduler"]) == 1


def test_a_killed_leader_costs_a_moment_and_no_acknowledged_write(fabric: Running) -> None:
    dead = leader(fabric)
    survivor = next(name for name in ("h1", "h2", "h3") if name != dead)
    cloud = cloud_of(fabric, survivor)
    cloud.post("/compute/v2.1/flavors", flavor("before"))
    os.kill(fabric.node(dead).pid, signal.SIGKILL)
    cloud.post("/compute/v2.1/flavors", flavor("after"))  # answered, late perhaps: a delay and no error
    assert {"before", "after"} <= flavors(cloud)
    assert leader(fabric) != dead
    fabric.cli("dev", "start", dead)
    back = eventually(lambda: _login(fabric, dead), what="the API of who is back")
    eventually(lambda: {"before", "after"} <= flavors(back), what="all of it on who is back")


def _login(fabric: Running, name: str) -> CloudClient | None:
    try:
        return cloud_of(fabric, name)
    except (FabricError, OSError):
        return None


def test_an_agent_that_is_stopped_hands_the_lead_over_first(fabric: Running) -> None:
    old = leader(fabric)
    told = fabric.node(old).log.stat().st_size
    os.kill(fabric.node(old).pid, signal.SIGTERM)
    eventually(lambda: not fabric.node(old).is_running(), what="the end of the agent")
    said = fabric.node(old).log.read_bytes()[told:].decode()
    assert "lead not handed over" not in said
    assert leader(fabric) != old


def test_the_lead_is_handed_over_on_request(fabric: Running) -> None:
    old = leader(fabric)
    heir = next(name for name in ("h1", "h2", "h3") if name != old)
    refused = fabric.cli("voters", "lead", old, "--node", heir, check=False)
    assert refused.returncode == 1
    assert f"ask on {old}" in refused.stderr
    fabric.cli("voters", "lead", heir, "--node", old)
    assert leader(fabric) == heir


def test_without_a_majority_writes_wait_and_reads_go_on(
    fabric: Running,
) -> None:
    last = leader(fabric)
    cloud = cloud_of(fabric, last)
    there = flavors(cloud)
    others = [name for name in ("h1", "h2", "h3") if name != last]
    for name in others:
        os.kill(fabric.node(name).pid, signal.SIGKILL)
    began = time.monotonic()
    with pytest.raises((CloudAnswerError, CloudSilentError)) as refused:
        cloud.post("/compute/v2.1/flavors", flavor("lost"))
    if isinstance(refused.value, CloudAnswerError):
        assert refused.value.status == 503
    assert time.monotonic() - began < WAIT_S
    assert flavors(cloud) == there
    shown = fabric.cli("voters", "list", "--node", last)
    assert "no majority" in shown.stdout or "cannot be reached" in shown.stderr


def test_whoever_an_operator_wants_out_stops_voting_when_there_is_another(fabric: Running) -> None:
    fabric.cli("voters", "remove", "h3")
    try:
        eventually(lambda: "h3" not in voting(fabric), timeout_s=WAIT_S, what="h3 votes no more")
    finally:
        fabric.cli("voters", "auto", "h3")
    eventually(lambda: voting(fabric) == {"h1", "h2", "h3"}, timeout_s=WAIT_S, what="h3 votes again")
