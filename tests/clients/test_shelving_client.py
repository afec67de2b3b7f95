"""`openstack server shelve` and `unshelve` of the stock client, against a whole fabric."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from fabric.core.voters.levels import THIS_PROGRAM
from tests.clients.test_openstack_client import CLIENT, level_of, openstack
from tests.fixtures.dev_fabric import Running, eventually, running_fabric

pytestmark = [
    pytest.mark.clients,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not CLIENT.exists(), reason="no .venv-clients: run `make setup`"),
]


@pytest.fixture(scope="module")
def fabric() -> Iterator[Running]:
    with running_fabric("sim", nodes=2) as running:
        newest = THIS_PROGRAM.highest
        eventually(lambda: level_of(running) == newest, what=f"level {newest}")
        yield running


def test_shelved_and_unshelved(fabric: Running) -> None:
    create = "server create --image guest --flavor m1.nano --network private --wait web"
    server = openstack(fabric, *create.split())
    openstack(fabric, "server", "shelve", "--offload", "--wait", "web", as_json=False)
    shown = openstack(fabric, "server", "show", "web")
    assert (shown["status"], shown["OS-EXT-SRV-ATTR:host"]) == ("SHELVED_OFFLOADED", None)
    assert shown["addresses"] == server["addresses"]
    listed = openstack(fabric, "server", "list", "--status", "SHELVED_OFFLOADED")
    assert [row["Name"] for row in listed] == ["web"]
    image = openstack(fabric, "image", "show", "web-shelved")
    assert image["properties"]["instance_uuid"] == server["id"]

    for to in (("--host", "h2"), ("--availability-zone", "nova")):
        openstack(fabric, "server", "unshelve", *to, "--wait", "web", as_json=False)
        shown = openstack(fabric, "server", "show", "web")
        assert (shown["status"], shown["addresses"]) == ("ACTIVE", server["addresses"])
        assert to[0] != "--host" or shown["OS-EXT-SRV-ATTR:host"] == to[1]
        openstack(fabric, "server", "shelve", "--wait", "web", as_json=False)
    events = [event["event"] for event in json.loads(fabric.cli("events", "--json").stdout)]
    told = [event for event in events if "shelve" in event]
    assert told[:3] == ["server.shelve", "server.shelved", "server.unshelve"]
    openstack(fabric, "server", "delete", "--wait", "web", as_json=False)
    assert "web-shelved" not in {each["Name"] for each in openstack(fabric, "image", "list")}
