"""A real guest is shelved, comes back on another host, and goes on from there with its disk."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.fixtures.dev_fabric import Running, eventually, running_fabric

pytestmark = [
    pytest.mark.slow,
    pytest.mark.libvirt,
    pytest.mark.root,
    pytest.mark.timeout(600),
]
LEVEL = 3
READ = "cat /root/word"


@pytest.fixture(scope="module")
def fabric() -> Iterator[Running]:
    with running_fabric("libvirt", nodes=2) as running:
        eventually(
            lambda: json.loads(running.cli("voters", "list", "--json").stdout)["level"] >= LEVEL, what="level"
        )
        yield running


def place_of(server: dict[str, object]) -> tuple[str, str]:
    addresses: dict[str, list[dict[str, str]]] = server["addresses"]  # type: ignore[assignment]
    return str(server["OS-EXT-SRV-ATTR:host"]), addresses["private"][0]["addr"]


def test_what_was_written_is_there_after_the_shelf_and_wherever_it_goes_then(fabric: Running) -> None:
    server_id = fabric.create("web", key_name="fabric-dev")
    host, address = place_of(fabric.wait_status(server_id, "ACTIVE"))
    fabric.until_login(host, address)
    assert fabric.in_guest(host, address, f"echo kept >/root/word; {READ}") == "kept"

    fabric.act(server_id, {"shelve": None})
    shelved = fabric.wait_status(server_id, "SHELVED_OFFLOADED")
    assert shelved["addresses"]["private"][0]["addr"] == address
    eventually(
        lambda: "fabric-" not in fabric.on_host(host, ["virsh", "-q", "list", "--all", "--name"]),
        what="an empty host",
    )
    cloud = fabric.cloud()
    image = cloud.find("/image/v2/images", "images", "web-shelved")
    assert image is not None
    assert (image["status"], image["instance_uuid"]) == ("active", server_id)

    (other,) = {node.name for node in fabric.layout.nodes} - {host}
    fabric.act(server_id, {"unshelve": {"host": other}})
    assert place_of(fabric.wait_status(server_id, "ACTIVE")) == (other, address)
    fabric.until_login(other, address)
    assert fabric.in_guest(other, address, READ) == "kept"
    assert cloud.find("/image/v2/images", "images", "web-shelved") is None

    # Its disk is built on an image that is gone: the next host must get that, not the one it was made from.
    fabric.act(server_id, {"os-migrateLive": {"host": host, "block_migration": "auto"}})
    assert place_of(fabric.wait_status(server_id, "ACTIVE")) == (host, address)
    fabric.until_login(host, address)
    again = f"sync; echo 3 >/proc/sys/vm/drop_caches; {READ}"
    assert fabric.in_guest(host, address, again) == "kept"
    fabric.delete(server_id)
