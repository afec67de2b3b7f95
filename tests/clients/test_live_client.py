"""Servers moved while they run, by the stock client, through a whole fabric of simulated hosts."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from fabric.core.voters.levels import THIS_PROGRAM
from fabric.dev.places import StepFailedError
from tests.clients.test_openstack_client import CLIENT, level_of, openstack
from tests.fixtures.dev_fabric import Running, eventually, running_fabric

pytestmark = [
    pytest.mark.clients,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not CLIENT.exists(), reason="no .venv-clients: run `make setup`"),
]
VERSION = ("--os-compute-api-version", "2.104")
SLOW_S = 600  # on h1: longer than any step of a test


@pytest.fixture(scope="module")
def fabric() -> Iterator[Running]:
    """Guests leave h2 and h3 in half a second; h1 only when they are made to."""
    with running_fabric("sim") as running:
        for name, took_ms in (("h2", 500), ("h3", 500), ("h1", SLOW_S * 1000)):
            running.dev.kill(name, signal.SIGKILL)
            file = running.node(name).config
            text = file.read_text().replace("[compute]\n", f"[compute]\nsim_migrate_ms = {took_ms}\n", 1)
            file.write_text(text)
            start(running, name)
        eventually(lambda: level_of(running) == THIS_PROGRAM.highest, what="the newest level")
        yield running


def start(fabric: Running, name: str) -> None:
    """Its ports may be free only a moment after its process is gone."""

    def started() -> bool:
        try:
            fabric.dev.start(name)
        except StepFailedError:
            return False
        return True

    eventually(started, what=f"{name} started")


def client(fabric: Running, *argv: str, as_json: bool = True) -> Any:
    return openstack(fabric, *VERSION, *argv, as_json=as_json)


def server_on(fabric: Running, name: str, host: str) -> str:
    server_id = fabric.create(name, availability_zone=f"nova:{host}")
    fabric.wait_status(server_id, "ACTIVE")
    return server_id


def migrations(fabric: Running, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client(fabric, "server", "migration", "list", "--server", name)
    return found


def under_way(fabric: Running, server_id: str) -> list[dict[str, Any]]:
    path = f"/compute/v2.1/servers/{server_id}/migrations"
    found: list[dict[str, Any]] = fabric.cloud().get(path)["migrations"]
    return found


def running(fabric: Running, server_id: str) -> dict[str, Any]:
    """The migration whose memory crosses, once it does."""

    def found() -> dict[str, Any] | None:
        (one,) = under_way(fabric, server_id) or [{"status": "not yet"}]
        return one if one["status"] == "running" and one["memory_processed_bytes"] > 0 else None

    one: dict[str, Any] = eventually(found, timeout_s=SLOW_S / 2, what="memory that crosses")
    return one


def test_a_server_goes_where_it_is_told_and_where_it_likes(fabric: Running) -> None:
    server_id = server_on(fabric, "mover", "h2")
    client(fabric, "server", "migrate", "--live-migration", "--host", "h3", "--wait", "mover", as_json=False)
    shown = fabric.show(server_id)
    assert (shown["status"], shown["OS-EXT-SRV-ATTR:host"]) == ("ACTIVE", "h3")
    eventually(
        lambda: not (fabric.node("h2").dir / "instances" / server_id).exists(),
        what="nothing left where it was",
    )
    assert "guest: booted" in fabric.console(server_id)
    client(fabric, "server", "migrate", "--live-migration", "--wait", "mover", as_json=False)
    second = fabric.show(server_id)["OS-EXT-SRV-ATTR:host"]
    assert second in ("h1", "h2")
    told = [(each["Status"], each["Type"], each["Dest Compute"]) for each in migrations(fabric, "mover")]
    assert told == [("completed", "live-migration", second), ("completed", "live-migration", "h3")]
    fabric.delete(server_id)


def test_what_a_client_says_of_disks_changes_nothing(fabric: Running) -> None:
    """They cross. (Below 2.25 the client's own call to its SDK fails.)"""
    server_id = server_on(fabric, "old", "h2")
    argv = ("server", "migrate", "--live-migration", "--shared-migration", "--wait", "old")
    openstack(fabric, "--os-compute-api-version", "2.30", *argv, as_json=False)
    assert fabric.show(server_id)["OS-EXT-SRV-ATTR:host"] != "h2"
    fabric.delete(server_id)


def test_one_is_watched_and_aborted(fabric: Running) -> None:
    server_id = server_on(fabric, "watched", "h1")
    client(fabric, "server", "migrate", "--live-migration", "watched", as_json=False)
    move = running(fabric, server_id)
    number = str(move["id"])
    shown = client(fabric, "server", "migration", "show", "watched", move["uuid"])  # by number it mixes up
    assert (shown["Status"], shown["Source Compute"]) == ("running", "h1")
    assert (
        shown["Memory Total Bytes"] == shown["Memory Processed Bytes"] + shown["Memory Remaining Bytes"] > 0
    )
    assert fabric.show(server_id)["status"] == "MIGRATING"
    client(fabric, "server", "migration", "abort", "watched", number, as_json=False)
    shown = fabric.wait_status(server_id, "ACTIVE")
    assert (shown["OS-EXT-SRV-ATTR:host"], shown["OS-EXT-STS:power_state"]) == ("h1", 1)
    (told,) = migrations(fabric, "watched")
    assert told["Status"] == "cancelled"
    for name in ("h2", "h3"):
        eventually(
            lambda name=name: not (fabric.node(name).dir / "instances" / server_id).exists(),
            what=f"nothing left on {name}",
        )
    fabric.delete(server_id)


def test_one_is_made_to_complete(fabric: Running) -> None:
    server_id = server_on(fabric, "slow", "h1")
    client(fabric, "server", "migrate", "--live-migration", "slow", as_json=False)
    number = str(running(fabric, server_id)["id"])
    client(fabric, "server", "migration", "force", "complete", "slow", number, as_json=False)
    shown = fabric.wait_status(server_id, "ACTIVE", timeout_s=SLOW_S / 4)
    assert shown["OS-EXT-SRV-ATTR:host"] != "h1"
    (told,) = migrations(fabric, "slow")
    assert told["Status"] == "completed"
    fabric.delete(server_id)


def test_a_destination_whose_agent_dies_leaves_it_where_it_was(fabric: Running) -> None:
    server_id = server_on(fabric, "left", "h1")
    client(fabric, "server", "migrate", "--live-migration", "--host", "h3", "left", as_json=False)
    running(fabric, server_id)
    fabric.dev.kill("h3", signal.SIGKILL)
    fabric.act(server_id, {"os-getConsoleOutput": {}})
    number = under_way(fabric, server_id)[0]["id"]
    fabric.cloud().post(
        f"/compute/v2.1/servers/{server_id}/migrations/{number}/action", {"force_complete": None}
    )
    shown = fabric.wait_status(server_id, "ACTIVE", timeout_s=SLOW_S / 4)
    assert (shown["OS-EXT-SRV-ATTR:host"], shown["OS-EXT-STS:power_state"]) == ("h1", 1)
    (told,) = migrations(fabric, "left")
    assert told["Status"] == "error"
    start(fabric, "h3")
    eventually(
        lambda: not (fabric.node("h3").dir / "instances" / server_id).exists(),
        what="nothing left on the host that died",
    )
    fabric.delete(server_id)
