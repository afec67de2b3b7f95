"""A real guest that goes from host to host with its disk and its address, comes back, and is evacuated."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fabric.core.voters.levels import THIS_PROGRAM
from tests.clients.test_openstack_client import level_of
from tests.fixtures.dev_fabric import Running, eventually, running_fabric
from tests.integration.test_servers_survive import leftovers, ports_seen

pytestmark = [pytest.mark.libvirt, pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def fabric() -> Iterator[Running]:
    with running_fabric("libvirt", nodes=2) as running:
        eventually(lambda: level_of(running) == THIS_PROGRAM.highest, what="the newest level")
        yield running


def test_a_guest_takes_its_disk_and_its_address_along(fabric: Running) -> None:
    """And what is evacuated is made anew from its image, off, and moves as it is."""
    server_id = fabric.create("traveller", availability_zone="nova:h2", key_name="fabric-dev")
    address = fabric.wait_status(server_id, "ACTIVE")["addresses"]["private"][0]["addr"]
    ports_seen(fabric, server_id)
    fabric.until_login("h2", address)
    fabric.in_guest("h2", address, "echo from h2 > /root/kept; sync")

    migrate(fabric, server_id, to="h1")
    assert directory(fabric, "h2", server_id).exists()  # kept, for the way back
    assert server_id not in fabric.on_host("h2", ["virsh", "-q", "list", "--name"])
    fabric.until_login("h1", address)
    assert fabric.in_guest("h1", address, "cat /root/kept") == "from h2"
    fabric.in_guest("h1", address, "echo from h1 > /root/kept; sync")
    fabric.act(server_id, {"revertResize": None})
    assert fabric.wait_status(server_id, "ACTIVE")["OS-EXT-SRV-ATTR:host"] == "h2"
    fabric.until_login("h2", address)
    assert fabric.in_guest("h2", address, "cat /root/kept") == "from h2"
    eventually(lambda: leftovers(fabric, "h1", server_id) == {}, what="nothing left at h1")

    fabric.dev.kill("h2", signal.SIGKILL)
    fabric.on_host("h2", ["virsh", "-q", "destroy", f"fabric-{server_id}"])
    down = "/compute/v2.1/os-services?host=h2&binary=nova-compute"
    eventually(lambda: fabric.cloud().get(down)["services"][0]["state"] == "down", what="h2 down")
    fabric.act(server_id, {"evacuate": {}})  # from 2.95 on it stays off there
    assert fabric.wait_status(server_id, "SHUTOFF")["OS-EXT-SRV-ATTR:host"] == "h1"
    fabric.cli("dev", "start", "h2")
    eventually(lambda: leftovers(fabric, "h2", server_id) == {}, what="nothing left at h2")

    migrate(fabric, server_id, to="h2")
    fabric.act(server_id, {"confirmResize": None})
    eventually(lambda: leftovers(fabric, "h1", server_id) == {}, what="nothing left at h1")
    assert fabric.show(server_id)["status"] == "SHUTOFF"
    fabric.act(server_id, {"os-start": None})
    assert fabric.wait_status(server_id, "ACTIVE")["OS-EXT-SRV-ATTR:host"] == "h2"
    fabric.until_login("h2", address)
    made_anew = "test -e /root/kept || hostname"
    assert fabric.in_guest("h2", address, made_anew) == "traveller"
    fabric.delete(server_id)


def migrate(fabric: Running, server_id: str, *, to: str) -> None:
    """Until it waits there, the only other host, to be confirmed."""
    fabric.act(server_id, {"migrate": None})
    assert fabric.wait_status(server_id, "VERIFY_RESIZE")["OS-EXT-SRV-ATTR:host"] == to


def directory(fabric: Running, host: str, server_id: str) -> Path:
    return fabric.node(host).dir / "instances" / server_id
