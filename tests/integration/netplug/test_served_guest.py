"""What a guest on a flat_dhcp network gets from its host: address, gateway, NAT, metadata; and what not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from netplug.contract import PortsRefusedError, SubnetPlan, bridge_name
from tests.fixtures.network_plans import METADATA_PORT, host, network, network_id, port, subnet
from tests.integration.netplug.conftest import Host

pytestmark = [pytest.mark.netns, pytest.mark.root]


async def test_dhcp_tells_address_router_dns_mtu_routes_and_name(machine: Host) -> None:
    net = network(
        1,
        SubnetPlan(
            cidr="10.1.0.0/24",
            gateway_ip="10.1.0.1",
            enable_dhcp=True,
            dns_nameservers=("192.0.2.53", "192.0.2.54"),
            host_routes=(("198.51.100.0/24", "10.1.0.9"),),
        ),
    )
    guest = machine.guest(port(1, hostname="Web, 1\n"))
    await machine.apply(host([net], [guest.port]))
    told = guest.dhcp(machine.folder)
    assert told["ip"] == "10.1.0.11"
    assert told["subnet"] == "255.255.255.0"
    assert told["router"] == "10.1.0.1"
    assert told["dns"] == "192.0.2.53 192.0.2.54"
    assert told["mtu"] == "1450"
    assert told["hostname"] == "web-1"
    assert told["lease"] == "86400"
    assert told["staticroutes"].split() == [
        "198.51.100.0/24", "10.1.0.9",
        "169.254.169.254/32", "10.1.0.1",
        "0.0.0.0/0", "10.1.0.1",
    ]  # fmt: skip


async def test_only_planned_guests_get_an_address(machine: Host) -> None:
    guest = machine.guest(port(1))
    stranger = machine.guest(port(2, port_security=False))
    await machine.apply(host([network(1)], [guest.port, stranger.port]))
    stranger.ip("link set eth0 address fa:16:3e:99:99:99")
    assert guest.dhcp(machine.folder)
    assert not stranger.dhcp(machine.folder)


async def test_network_without_gateway_has_dhcp_and_metadata_but_no_way_out(machine: Host) -> None:
    guest = machine.guest(port(1))
    await machine.apply(host([network(1, subnet("10.1.0.0/24"))], [guest.port]))
    told = guest.dhcp(machine.folder)
    assert told["ip"] == "10.1.0.11"
    assert "router" not in told
    assert told["serverid"] == "169.254.169.254"
    assert told["staticroutes"].split() == ["169.254.169.254/32", "0.0.0.0"]
    guest.configure()
    guest.ip("route add 169.254.169.254/32 dev eth0")
    machine.space.start_probe("serve", str(METADATA_PORT))
    assert guest.answers("169.254.169.254", 80) == "hello 10.1.0.11"
    outside = machine.bed.namespace()
    machine.bed.wire(machine.space, "up0", outside, "eth0")
    machine.space.ip("addr add 192.0.2.1/24 dev up0")
    outside.ip("addr add 192.0.2.2/24 dev eth0")
    machine.space.ok("sysctl", "-qw", "net.ipv4.ip_forward=1")
    outside.ip("route add 10.1.0.0/24 via 192.0.2.1")
    guest.ip("route add default via 169.254.169.254")
    assert guest.cannot_ping("192.0.2.2")
    assert outside.cannot_ping("10.1.0.11")


async def test_address_moves_to_the_next_guest(machine: Host) -> None:
    """The lease of a guest that left must not keep its address from its successor."""
    first = machine.guest(port(1, "10.1.0.50"))
    second = machine.guest(port(2, "10.1.0.51"))
    await machine.apply(host([network(1)], [first.port, second.port]))
    assert first.dhcp(machine.folder)["ip"] == "10.1.0.50"
    heir = machine.guest(port(3, "10.1.0.50"))
    await machine.apply(host([network(1)], [heir.port, second.port]))
    assert heir.dhcp(machine.folder)["ip"] == "10.1.0.50"
    assert second.dhcp(machine.folder)["ip"] == "10.1.0.51"


async def test_new_guest_reloads_the_running_server(machine: Host) -> None:
    first = machine.guest(port(1))
    await machine.apply(host([network(1)], [first.port]))
    before = (await machine.plug.leftovers()).dnsmasq_pids
    second = machine.guest(port(2))
    await machine.apply(host([network(1)], [first.port, second.port]))
    assert (await machine.plug.leftovers()).dnsmasq_pids == before
    assert second.dhcp(machine.folder)["ip"] == "10.1.0.12"
    moved = network(1, replace(network(1).subnets[0], dns_nameservers=("192.0.2.53",)))
    await machine.apply(host([moved], [first.port, second.port]))
    assert (await machine.plug.leftovers()).dnsmasq_pids != before
    assert second.dhcp(machine.folder)["dns"] == "192.0.2.53"


async def test_gateway_answers_and_host_reaches_the_guest(machine: Host) -> None:
    guest = machine.guest(port(1))
    await machine.apply(host([network(1)], [guest.port]))
    guest.configure("10.1.0.1")
    assert guest.pings("10.1.0.1")
    assert guest.pings("10.1.0.1", size=1_422), "a frame of the network's whole mtu passes"
    assert machine.space.pings("10.1.0.11")
    guest.start_probe("serve", "22")
    assert machine.space.answers("10.1.0.11", 22) == "hello 10.1.0.1"


async def test_guest_reaches_the_world_under_the_hosts_address(machine: Host) -> None:
    guest = machine.guest(port(1))
    await machine.apply(host([network(1)], [guest.port]))
    outside = machine.bed.namespace()
    machine.bed.wire(machine.space, "up0", outside, "eth0")
    machine.space.ip("addr add 192.0.2.1/24 dev up0")
    outside.ip("addr add 192.0.2.2/24 dev eth0")
    guest.configure("10.1.0.1")
    outside.start_probe("serve", "80")
    assert guest.answers("192.0.2.2", 80) == "hello 192.0.2.1"
    # In the other direction the security group decides: no rule, no way in.
    outside.ip("route add 10.1.0.0/24 via 192.0.2.1")
    guest.start_probe("serve", "22")
    assert not outside.answers("10.1.0.11", 22)


async def test_metadata_is_for_guests_of_the_network_only(machine: Host) -> None:
    nets = [network(1), network(2, metadata_port=METADATA_PORT + 1)]
    one, two = machine.guest(port(1)), machine.guest(port(2, net=2))
    await machine.apply(host(nets, [one.port, two.port]))
    one.configure("10.1.0.1")
    two.configure("10.2.0.1")
    for number in (METADATA_PORT, METADATA_PORT + 1, 8_080):
        machine.space.start_probe("serve", str(number))
    assert one.answers("169.254.169.254", 80) == "hello 10.1.0.11", "the source address tells who asks"
    assert two.answers("169.254.169.254", 80) == "hello 10.2.0.12"
    assert not one.answers("10.1.0.1", METADATA_PORT), "only through the metadata address"
    assert not two.answers("10.2.0.1", METADATA_PORT)
    assert not two.answers("10.1.0.1", METADATA_PORT)
    outside = machine.bed.namespace()
    machine.bed.wire(machine.space, "up0", outside, "eth0")
    machine.space.ip("addr add 192.0.2.1/24 dev up0")
    outside.ip("addr add 192.0.2.2/24 dev eth0")
    assert outside.answers("192.0.2.1", 8_080), "what is not ours stays open"
    assert not outside.answers("192.0.2.1", METADATA_PORT)


async def test_host_is_closed_to_guests(machine: Host) -> None:
    guest = machine.guest(port(1, port_security=False))
    other = machine.guest(port(2, net=2, port_security=False))
    await machine.apply(host([network(1), network(2)], [guest.port, other.port]))
    machine.space.start_probe("serve", "8080")
    machine.bed.wire(machine.space, "up0", machine.bed.namespace(), "eth0")
    machine.space.ip("addr add 192.0.2.1/24 dev up0")
    guest.configure("10.1.0.1")
    other.configure("10.2.0.1")
    assert guest.pings("10.1.0.1")
    for address in ("10.1.0.1", "192.0.2.1", "10.2.0.1"):
        assert not guest.answers(address, 8_080)
    assert guest.cannot_ping("10.2.0.12"), "networks do not meet through the host"
    assert guest.run("arping", "-c1", "-w1", "-I", "eth0", "192.0.2.1").returncode != 0


async def test_uplink_that_carries_the_host_is_not_taken(machine: Host) -> None:
    """A subnet that is the host's own network would cut the host off."""
    guest = machine.guest(port(1))
    machine.bed.wire(machine.space, "up0", machine.bed.namespace(), "eth0")
    machine.space.ip("addr add 10.1.0.7/16 dev up0")
    with pytest.raises(PortsRefusedError, match=r"overlaps the host's own network 10\.1\.0\.7/16"):
        await machine.apply(host([network(1)], [guest.port]))
    assert bridge_name(network_id(1)) not in machine.space.ip("-o link")
    machine.space.ip("link del up0")
    machine.space.ip(f"link del tap{guest.port.port_id[:11]}")
