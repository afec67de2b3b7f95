"""A real guest on a simulated host: address by DHCP; key, name, user data by metadata and by config drive."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest

from tests.fixtures.dev_fabric import Running, eventually, running_fabric

pytestmark = [
    pytest.mark.slow,
    pytest.mark.libvirt,
    pytest.mark.root,
    pytest.mark.timeout(1200),
]
GUEST_TIMEOUT_S = 180.0


@pytest.fixture(scope="module")
def fabric() -> Iterator[Running]:
    with running_fabric("libvirt", nodes=2) as running:
        yield running


@pytest.mark.parametrize("drive", [False, True], ids=["metadata", "config-drive"])
def test_guest_learns_who_it_is(fabric: Running, drive: bool) -> None:
    name = "by-drive" if drive else "by-http"
    mark = f"user-data-ran-{name}"
    script = f"#!/bin/sh\necho {mark} $(hostname)\n"
    server_id = fabric.create(
        name,
        key_name="fabric-dev",
        config_drive=drive,
        user_data=base64.b64encode(script.encode()).decode(),
    )
    server = fabric.wait_status(server_id, "ACTIVE")
    host, address = server["OS-EXT-SRV-ATTR:host"], server["addresses"]["private"][0]["addr"]
    way = "metadata drive" if drive else "metadata http"
    log = eventually(
        lambda: (text := fabric.console(server_id)) and f"guest: {way} {name} " in text and text,
        timeout_s=GUEST_TIMEOUT_S,
        what=f"the guest's word that it has its metadata (console: {fabric.console(server_id)[-500:]})",
    )
    assert f"guest: eth0 {address}/22" in log  # DHCP gave the address the API shows
    assert f"{mark} {name}" in log
    fabric.on_host(host, ["ping", "-c", "1", "-W", "5", address])
    ssh = fabric.dev.ssh(address)
    said = eventually(
        lambda: fabric.on_host(host, [*ssh, "hostname; cat /root/.ssh/authorized_keys | wc -l"], check=False),
        timeout_s=GUEST_TIMEOUT_S,
        what="ssh",
    )
    assert said.split() == [name, "1"]
    fabric.delete(server_id)


def test_guests_on_two_hosts_share_their_network(fabric: Running) -> None:
    """And a guest's default group lets nobody in from outside but its own members."""
    made = [fabric.create(f"pair-{i}", key_name="fabric-dev") for i in range(2)]
    servers = [fabric.wait_status(server_id, "ACTIVE") for server_id in made]
    hosts = [server["OS-EXT-SRV-ATTR:host"] for server in servers]
    assert len(set(hosts)) == 2  # the scheduler spreads
    addresses = [server["addresses"]["private"][0]["addr"] for server in servers]
    ssh = fabric.dev.ssh(addresses[0])
    eventually(
        lambda: (
            fabric.on_host(hosts[0], [*ssh, f"ping -c 1 -w 2 {addresses[1]} && echo reached"], check=False)
            .strip()
            .endswith("reached")
        ),
        timeout_s=GUEST_TIMEOUT_S,
        what="a ping from one guest to the other, across hosts",
    )
    for server_id in made:
        fabric.delete(server_id)
