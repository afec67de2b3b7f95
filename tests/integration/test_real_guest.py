"""A real guest on a simulated host: address by DHCP; key, name, user data by metadata and by config drive."""

from __future__ import annotations

import base64
import hashlib
import random
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


def test_two_networks_and_a_drive_that_says_what_http_says(fabric: Running) -> None:
    """Binary user data of nearly the largest size arrives whole, both ways; a name is made a host name."""
    cloud = fabric.cloud()
    private = cloud.find("/network/v2.0/networks", "networks", "private")
    assert private is not None
    second = cloud.post("/network/v2.0/networks", {"network": {"name": "second"}})["network"]
    subnet = {"network_id": second["id"], "cidr": "10.98.0.0/24", "ip_version": 4}
    cloud.post("/network/v2.0/subnets", {"subnet": subnet})
    data = random.Random(1).randbytes(49_000)  # as base64 65,336 of 65,535 characters
    server_id = fabric.create(
        "_Zwei Netze & \u00dcnic\u00f6de",
        key_name="fabric-dev",
        config_drive=True,
        networks=[{"uuid": private["id"]}, {"uuid": second["id"]}],
        user_data=base64.b64encode(data).decode(),
    )
    server = fabric.wait_status(server_id, "ACTIVE")
    host = server["OS-EXT-SRV-ATTR:host"]
    first, other = (server["addresses"][name][0]["addr"] for name in ("private", "second"))
    fabric.until_login(host, first)
    names = ("network_data.json", "user_data", "vendor_data.json", "vendor_data2.json")
    compare = "; ".join(
        f"timeout 5 wget -q -O /tmp/x http://169.254.169.254/openstack/latest/{name}"
        f" && cmp /tmp/x /mnt/config/openstack/latest/{name} && echo same"
        for name in names
    )
    assert fabric.in_guest(host, first, compare).splitlines() == ["same"] * len(names)
    said = fabric.in_guest(host, first, "hostname; md5sum </mnt/config/openstack/latest/user_data")
    assert said.split()[:2] == ["zwei-netze--nicde", hashlib.md5(data).hexdigest()]
    assert "1 received" in fabric.on_host(host, ["ping", "-c", "1", "-W", "5", other])
    assert f"inet {other}/24" in fabric.in_guest(host, first, "ip addr show eth1")
    fabric.delete(server_id)
