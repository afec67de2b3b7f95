"""The stock client at 2.104: a server let go from its zone and bound to it again, and what its moves make of
that, on a whole fabric."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from fabric.core.voters.levels import THIS_PROGRAM
from tests.clients.test_openstack_client import CLIENT, level_of, openrc, openstack
from tests.fixtures.dev_fabric import Running, eventually, running_fabric

pytestmark = [
    pytest.mark.clients,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not CLIENT.exists(), reason="no .venv-clients: run `make setup`"),
]
NEWEST = ("--os-compute-api-version", "2.104")
SET = ("server", "set", "--pinned-availability-zone")


@pytest.fixture(scope="module")
def fabric() -> Iterator[Running]:
    """h1 is in the zone nova, h2 and h3 are in north."""
    with running_fabric("sim") as running:
        eventually(lambda: level_of(running) == THIS_PROGRAM.highest, what="the newest level")
        openstack(running, "aggregate", "create", "--zone", "north", "n", as_json=False)
        for host in ("h2", "h3"):
            openstack(running, "aggregate", "add", "host", "n", host, as_json=False)
        yield running


def refused(fabric: Running, *argv: str) -> str:
    """What the client says of it."""
    done = subprocess.run(
        [str(CLIENT), *argv], capture_output=True, text=True, timeout=200, env=openrc(fabric)
    )
    assert done.returncode != 0, done.stdout
    return done.stderr


def migrated(fabric: Running, server_id: str) -> str:
    """The host that the scheduler chose, and where the server stays."""
    openstack(fabric, "server", "migrate", server_id, as_json=False)
    there = fabric.wait_status(server_id, "VERIFY_RESIZE")["OS-EXT-SRV-ATTR:host"]
    openstack(fabric, "server", "migration", "confirm", server_id, as_json=False)
    fabric.wait_status(server_id, "ACTIVE")
    return str(there)


def shown(fabric: Running, name: str) -> dict[str, Any]:
    found: dict[str, Any] = openstack(fabric, *NEWEST, "server", "show", name)
    return found


def test_let_go_and_pinned_by_the_client(fabric: Running) -> None:
    create = "server create --image guest --flavor m1.nano --network private --wait web"
    made = openstack(fabric, *NEWEST, *create.split(), "--availability-zone", "north")
    server = shown(fabric, "web")
    assert (server["pinned_availability_zone"], server["OS-EXT-AZ:availability_zone"]) == ("north", "north")
    assert (server["scheduler_hints"], server["image"].startswith("guest")) == ({}, True)
    (row,) = openstack(fabric, *NEWEST, "server", "list", "--long")
    assert (row["Name"], row["Pinned Availability Zone"]) == ("web", "north")
    for _ in range(3):  # among three hosts, chance would take it away sooner or later
        assert migrated(fabric, made["id"]) in ("h2", "h3")

    openstack(fabric, *NEWEST, "server", "unset", "--pinned-availability-zone", "web", as_json=False)
    assert shown(fabric, "web")["pinned_availability_zone"] is None
    words = refused(fabric, *NEWEST, *SET, "nova", "web")
    assert "Server can only be pinned to its current availability zone 'north'" in words
    away = {"h2": "h3", "h3": "h2"}[shown(fabric, "web")["OS-EXT-SRV-ATTR:host"]]
    openstack(fabric, "compute", "service", "set", "--disable", away, "nova-compute", as_json=False)
    assert migrated(fabric, made["id"]) == "h1"

    openstack(fabric, *NEWEST, *SET, "nova", "web", as_json=False)
    assert shown(fabric, "web")["pinned_availability_zone"] == "nova"
    assert "Unpin first" in refused(fabric, *NEWEST, *SET, "north", "web")
    openstack(fabric, "server", "migrate", "web", as_json=False)  # nowhere: no other host is in that zone
    eventually(lambda: not_moving(fabric, made["id"]), what="the end of a move to nowhere")
    assert fabric.show(made["id"])["OS-EXT-SRV-ATTR:host"] == "h1"
    told = [event for event in json.loads(fabric.cli("events", "--json").stdout) if "pin" in event["event"]]
    assert [(event["event"], event.get("zone")) for event in told] == [
        ("server.unpin", None),
        ("server.pin", "nova"),
    ]
    assert openstack(fabric, *NEWEST, "server", "share", "list", "web") == []
    fabric.delete(made["id"])


def not_moving(fabric: Running, server_id: str) -> bool:
    found = fabric.show(server_id)
    return (found["status"], found["OS-EXT-STS:task_state"]) == ("ACTIVE", None)


def test_flavors_by_name(fabric: Running) -> None:
    found = fabric.cloud().get("/compute/v2.1/flavors?name=^m1.nano$")["flavors"]
    assert [each["name"] for each in found] == ["m1.nano"]
