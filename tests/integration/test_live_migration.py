"""A real guest goes to another host while it runs: nobody who speaks with it has to begin anew."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.fixtures.dev_fabric import Running, eventually, running_fabric

pytestmark = [
    pytest.mark.slow,
    pytest.mark.libvirt,
    pytest.mark.root,
    pytest.mark.timeout(1200),
]
MOVE_TIMEOUT_S = 180.0
# What is on its disk, read from there, and which of its boots this is.
SAID = "echo 3 >/proc/sys/vm/drop_caches; md5sum /root/blob; cat /proc/sys/kernel/random/boot_id"


@pytest.fixture(scope="module")
def fabric() -> Iterator[Running]:
    with running_fabric("libvirt", nodes=2) as running:
        yield running


def migrate(fabric: Running, server_id: str) -> dict[str, Any]:
    """Sends it where the scheduler says; its move once that is over."""
    fabric.act(server_id, {"os-migrateLive": {"host": None, "block_migration": "auto"}})
    fabric.wait_status(server_id, "ACTIVE", timeout_s=MOVE_TIMEOUT_S)
    path = f"/compute/v2.1/os-migrations?instance_uuid={server_id}"
    found: list[dict[str, Any]] = fabric.cloud().get(path)["migrations"]
    return found[0]


def test_a_guest_moves_and_moves_back_while_it_runs(fabric: Running) -> None:
    server_id = fabric.create("mover", key_name="fabric-dev", config_drive=True)
    server = fabric.wait_status(server_id, "ACTIVE")
    first, address = server["OS-EXT-SRV-ATTR:host"], server["addresses"]["private"][0]["addr"]
    fabric.until_login(first, address)
    fabric.in_guest(first, address, "head -c 1048576 /dev/urandom >/root/blob; sync")
    written = fabric.in_guest(first, address, SAID)
    assert len(written.split()) == 3
    (second,) = {"h1", "h2"} - {first}

    moved = migrate(fabric, server_id)
    assert moved["status"] == "completed", moved
    assert (moved["source_compute"], moved["dest_compute"]) == (first, second)
    server = fabric.show(server_id)
    assert server["OS-EXT-SRV-ATTR:host"] == second
    assert server["OS-EXT-STS:power_state"] == 1
    eventually(
        lambda: fabric.in_guest(second, address, SAID) == written,
        timeout_s=MOVE_TIMEOUT_S,
        what="the guest as it was, on the other host",
    )
    eventually(lambda: is_clean(fabric, first, server_id), timeout_s=60, what="nothing left where it was")

    assert migrate(fabric, server_id)["status"] == "completed"
    assert fabric.show(server_id)["OS-EXT-SRV-ATTR:host"] == first
    eventually(
        lambda: fabric.in_guest(first, address, SAID) == written,
        timeout_s=MOVE_TIMEOUT_S,
        what="the guest as it was, back again",
    )
    fabric.act(server_id, {"reboot": {"type": "HARD"}})
    fabric.wait_status(server_id, "ACTIVE")
    fabric.until_login(first, address)
    assert fabric.in_guest(first, address, "md5sum /root/blob").split()[0] == written.split()[0]
    fabric.delete(server_id)


def is_clean(fabric: Running, host: str, server_id: str) -> bool:
    files = list((fabric.node(host).dir).glob(f"instances/{server_id}/*"))
    domains = fabric.on_host(host, ["virsh", "-q", "list", "--all", "--name"])
    sockets = fabric.on_host(host, ["sh", "-c", "ls /run/fabric-migration"], check=False)
    return not files and server_id not in domains and not sockets.strip()
