"""Who may talk to whom: real guests on two hosts, rules changed through the API while they run."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from fabric.dev.cloud_client import CloudClient
from tests.fixtures.dev_fabric import Running, eventually, running_fabric

pytestmark = [
    pytest.mark.slow,
    pytest.mark.libvirt,
    pytest.mark.root,
    pytest.mark.timeout(1200),
]
PASSWORD = "isolation-of-tenants"
RULE_S = 10.0
MESH, DOOR, LIBVIRT, HTTP = 7400, 7401, 16509, 80
METADATA = "http://169.254.169.254/openstack/latest/meta_data.json"


@dataclass(frozen=True)
class Guest:
    fabric: Running
    host: str
    address: str

    def run(self, command: str) -> str:
        return self.fabric.in_guest(self.host, self.address, command)

    def opens(self, *addresses: str, ports: Iterable[int] = (HTTP,)) -> set[tuple[str, int]]:
        """Which of these TCP ports it can connect to: all tried at once."""
        tries = [
            f"(nc -w 2 {address} {port} </dev/null >/dev/null 2>&1 && echo {address} {port}) &"
            for address in addresses
            for port in ports
        ]
        words = [line.split() for line in self.run(" ".join([*tries, "wait"])).splitlines()]
        return {(address, int(port)) for address, port in words}

    def pings(self, address: str, extra: str = "") -> bool:
        return "1 packets received" in self.run(f"ping -c 1 -W 2 {extra} {address}")


@dataclass(frozen=True)
class World:
    fabric: Running
    one: Guest  # h2, default group
    two: Guest  # h2, group "web"
    far: Guest  # h1, group "web"
    other: Guest  # h2, another project's, on a network of its own
    web: str  # security group

    def rule(self, **fields: Any) -> str:
        body = {"security_group_id": self.web, "direction": "ingress", "ethertype": "IPv4"} | fields
        answer = self.fabric.cloud().post("/network/v2.0/security-group-rules", {"security_group_rule": body})
        return str(answer["security_group_rule"]["id"])

    def drop_rule(self, rule_id: str) -> None:
        self.fabric.cloud().delete(f"/network/v2.0/security-group-rules/{rule_id}")


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with running_fabric("libvirt", nodes=2) as fabric:
        yield make_world(fabric)


def make_world(fabric: Running) -> World:
    cloud = fabric.cloud()
    web = cloud.post("/network/v2.0/security-groups", {"security_group": {"name": "web"}})["security_group"]
    tenant = another_project(fabric)
    network_id = make_network(tenant, "10.99.0.0/24")
    public_key = (fabric.directory / "id_ed25519.pub").read_text().strip()
    tenant.post("/compute/v2.1/os-keypairs", {"keypair": {"name": "k", "public_key": public_key}})
    groups = {"security_groups": [{"name": "web"}]}
    far = fabric.create("far", key_name="fabric-dev", availability_zone="nova:h1", **groups)
    fabric.wait_status(far, "ACTIVE")
    image = cloud.find("/image/v2/images", "images", "guest")
    assert image is not None
    # A tenant may not choose its host: the scheduler takes the empty one.
    body = {"name": "other", "imageRef": image["id"], "flavorRef": "m1.nano", "key_name": "k",
            "networks": [{"uuid": network_id}]}  # fmt: skip
    other = tenant.post("/compute/v2.1/servers", {"server": body})["server"]["id"]
    one = fabric.create("one", key_name="fabric-dev", availability_zone="nova:h2")
    two = fabric.create("two", key_name="fabric-dev", availability_zone="nova:h2", **groups)
    guests = []
    for server_id in (one, two, far, other):
        server = fabric.wait_status(server_id, "ACTIVE")
        (addresses,) = server["addresses"].values()
        guests.append(Guest(fabric, server["OS-EXT-SRV-ATTR:host"], addresses[0]["addr"]))
    for guest in guests:
        fabric.until_login(guest.host, guest.address)
    assert [guest.host for guest in guests] == ["h2", "h2", "h1", "h2"]
    return World(fabric, *guests, web["id"])


def another_project(fabric: Running) -> CloudClient:
    cloud = fabric.cloud()
    project = cloud.post("/identity/v3/projects", {"project": {"name": "rivals"}})["project"]
    user = cloud.post("/identity/v3/users", {"user": {"name": "rival", "password": PASSWORD}})["user"]
    (role,) = (r for r in cloud.get("/identity/v3/roles")["roles"] if r["name"] == "member")
    cloud.put(f"/identity/v3/projects/{project['id']}/users/{user['id']}/roles/{role['id']}")
    tenant = CloudClient(fabric.layout.api_urls[0])
    tenant.login("rival", PASSWORD, "rivals")
    return tenant


def make_network(cloud: CloudClient, cidr: str) -> str:
    network_id = cloud.post("/network/v2.0/networks", {"network": {"name": cidr}})["network"]["id"]
    subnet = {"network_id": network_id, "cidr": cidr, "ip_version": 4}
    cloud.post("/network/v2.0/subnets", {"subnet": subnet})
    return str(network_id)


@pytest.mark.parametrize("target", ["two", "far"], ids=["same-host", "across-hosts"])
def test_rules_act_on_running_guests(world: World, target: str) -> None:
    one, web = world.one, getattr(world, target)
    assert not one.opens(web.address)
    assert not one.pings(web.address)
    rule = world.rule(protocol="tcp", port_range_min=HTTP, port_range_max=HTTP,
                      remote_ip_prefix=f"{one.address}/32")  # fmt: skip
    eventually(lambda: one.opens(web.address), timeout_s=RULE_S, what="the new rule")
    assert not one.pings(web.address)
    assert not (world.far if web is world.two else world.two).opens(web.address)
    world.drop_rule(rule)
    eventually(lambda: not one.opens(web.address), timeout_s=RULE_S, what="the rule's end")


def test_remote_groups_follow_their_members(world: World) -> None:
    default = world.fabric.cloud().find("/network/v2.0/security-groups", "security_groups", "default")
    assert default is not None
    rule = world.rule(protocol="icmp", remote_group_id=default["id"])
    eventually(lambda: world.one.pings(world.far.address), timeout_s=RULE_S, what="the group's rule")
    assert not world.two.pings(world.far.address)  # of another group
    world.drop_rule(rule)
    eventually(lambda: not world.one.pings(world.far.address), timeout_s=RULE_S, what="the rule's end")


def test_nobody_speaks_under_anothers_address(world: World) -> None:
    rule = world.rule(protocol="icmp")
    eventually(lambda: world.one.pings(world.two.address), timeout_s=RULE_S, what="the rule")
    for address in (world.far.address, "10.20.3.250"):
        world.one.run(f"ip addr add {address}/32 dev lo")
        assert not world.one.pings(world.two.address, f"-I {address}")
        world.one.run(f"ip addr del {address}/32 dev lo")
    # The gateway's address claimed by ARP: who believed it would lose the real one. Left alone, for
    # meanwhile it does not answer us either.
    claim = "ip addr add 10.20.0.1/32 dev eth0; arping -U -c 2 -w 2 -I eth0 10.20.0.1; touch /run/claimed"
    world.one.run(f"setsid sh -c '{claim}; ip addr del 10.20.0.1/32 dev eth0' </dev/null >/dev/null 2>&1 &")
    eventually(lambda: world.one.run("ls /run/claimed") == "/run/claimed", what="the claim")
    assert world.two.pings("10.20.0.1")
    assert json.loads(world.two.run(f"timeout 5 wget -q -O - {METADATA}"))["name"] == "two"
    world.drop_rule(rule)


def test_projects_do_not_meet(world: World) -> None:
    """Not on the host they share, not through its gateway addresses, not through the metadata service."""
    other, one = world.other, world.one
    assert not other.pings(one.address)
    assert not other.opens(one.address)
    assert not one.opens(other.address)
    headers = f'--header "X-Forwarded-For: {one.address}"'
    told = json.loads(other.run(f"timeout 5 wget -q -O - {headers} {METADATA}"))
    assert told["name"] == "other"
    (record,) = world.fabric.node("h2").dir.rglob("metadata_ports.json")
    ports = [port for port in json.loads(record.read_text()).values() if isinstance(port, int)]
    assert len(ports) == 2
    assert not other.opens("10.20.0.1", "10.99.0.1", world.fabric.hosts.address("h2"), ports=ports)


def test_hosts_are_closed_to_guests(world: World) -> None:
    """Their own host's ports, and those by which its neighbours are managed; the world is open."""
    hosts = world.fabric.hosts
    everywhere = ("10.20.0.1", hosts.address("h2"), hosts.address("h1"))
    assert not world.one.opens(*everywhere, ports=(MESH, DOOR, LIBVIRT))
    argv = [sys.executable, "-m", "http.server", "8099", "--bind", hosts.address("h1")]
    server = hosts.spawn_in("h1", argv, log=world.fabric.directory / "http.log")
    try:
        eventually(
            lambda: world.one.opens(hosts.address("h1"), ports=[8099]), what="a port that is no host's"
        )
    finally:
        os.kill(server, signal.SIGKILL)


def test_a_network_with_the_same_addresses_is_refused(world: World) -> None:
    """Two networks of one range never meet on a host: the second is told why, the first goes on."""
    twin = make_network(world.fabric.cloud(), "10.20.0.0/22")
    server_id = world.fabric.create("twin", networks=[{"uuid": twin}], availability_zone="nova:h2")
    eventually(lambda: world.fabric.show(server_id)["status"] == "ERROR", what="ERROR")
    message = world.fabric.show(server_id)["fault"]["message"]
    assert "subnet 10.20.0.0/22 overlaps network" in message
    assert world.one.pings("10.20.0.1")
    world.fabric.delete(server_id)
