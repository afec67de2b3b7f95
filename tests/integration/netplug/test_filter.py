"""Anti-spoofing and security groups, with real frames between guests of one host."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from netplug.contract import RulePlan, bridge_name
from tests.fixtures.network_beds import Guest
from tests.fixtures.network_plans import ALLOW_OUT, allow_tcp, host, mac, network, network_id, port
from tests.integration.netplug.conftest import Host

pytestmark = [pytest.mark.netns, pytest.mark.root]

PING = RulePlan(direction="ingress", ethertype="IPv4", protocol="icmp")
ANY_IN = RulePlan(direction="ingress", ethertype="IPv4")
ANY_IN6 = RulePlan(direction="ingress", ethertype="IPv6")
ALLOW_OUT6 = RulePlan(direction="egress", ethertype="IPv6")
SERVED = 22
BROADCAST = "ffffffffffff"


def raw(text: str) -> str:
    return text.replace(":", "")


def arp(sender_mac: str, claimed_mac: str, claimed: str, target: str) -> str:
    fields = f"0001080006040001{raw(claimed_mac)}{int(IPv4Address(claimed)):08x}"
    return f"{BROADCAST}{raw(sender_mac)}0806{fields}{'00' * 6}{int(IPv4Address(target)):08x}"


def udp(to_mac: str, from_mac: str, source: str, target: str, ports: tuple[int, int], body: str) -> str:
    """A frame with a right IPv4 header checksum and no UDP checksum."""
    length = 8 + len(body) // 2
    words = [0x4500, 20 + length, 1, 0, 0x4011, 0]
    for address in (source, target):
        words += [int(IPv4Address(address)) >> 16, int(IPv4Address(address)) & 0xFFFF]
    total = sum(words)
    words[5] = 0xFFFF - ((total & 0xFFFF) + (total >> 16))
    header = "".join(f"{word:04x}" for word in words)
    return f"{raw(to_mac)}{raw(from_mac)}0800{header}{ports[0]:04x}{ports[1]:04x}{length:04x}0000{body}"


def heard(listener: Guest, sender: Guest, frames: dict[str, str], last: str) -> set[str]:
    """Names of the frames that came through. `last` is the one that must: it ends the listening."""
    process = listener.start_probe("hear", "eth0", frames[last])
    done = sender.probe("send", "eth0", *(frames[name] for name in frames if name != last), frames[last])
    assert done.returncode == 0, done.stderr
    text, _ = process.communicate(timeout=30)
    assert process.returncode == 0, "even the honest frame was lost"
    return {name for name, frame in frames.items() if frame in text}


async def test_guest_cannot_pretend_to_be_another(machine: Host) -> None:
    honest = machine.guest(port(1, rules=[ALLOW_OUT, ANY_IN]))
    liar = machine.guest(port(2))
    await machine.apply(host([network(1)], [honest.port, liar.port]))
    me, other = mac(2), mac(1)
    frames = {
        "mac": udp(other, mac(77), "10.1.0.12", "10.1.0.11", (5, 6), "aa01"),
        "ip": udp(other, me, "10.1.0.99", "10.1.0.11", (5, 6), "aa02"),
        "arp address": arp(me, me, "10.1.0.1", "10.1.0.11"),
        "arp mac": arp(me, mac(78), "10.1.0.12", "10.1.0.11"),
        "dhcp server": udp(other, me, "10.1.0.12", "10.1.0.11", (67, 68), "aa03"),
        "dhcp request": udp("ff:ff:ff:ff:ff:ff", me, "0.0.0.0", "255.255.255.255", (68, 67), "aa04"),
        "tagged": f"{raw(other)}{raw(me)}81000005"
        + udp(other, me, "10.1.0.12", "10.1.0.11", (5, 6), "a5")[24:],
        "other ether type": f"{raw(other)}{raw(me)}88b5" + "bb" * 50,
        "router advertisement": f"333300000001{raw(me)}86dd6000000000103afffe80{'00' * 14}ff02"
        + "00" * 13 + "01" + "8600000040000708" + "00" * 8,
        "honest arp": arp(me, me, "10.1.0.12", "10.1.0.11"),
        "honest": udp(other, me, "10.1.0.12", "10.1.0.11", (5, 6), "aaff"),
    }  # fmt: skip
    assert heard(honest, liar, frames, "honest") == {"honest arp", "honest"}


async def test_without_port_security_nothing_is_checked(machine: Host) -> None:
    listener = machine.guest(port(1, port_security=False))
    sender = machine.guest(port(2, port_security=False))
    await machine.apply(host([network(1)], [listener.port, sender.port]))
    frames = {
        "mac": udp(mac(1), mac(77), "10.1.0.12", "10.1.0.11", (5, 6), "aa01"),
        "ip": udp(mac(1), mac(2), "10.1.0.99", "10.1.0.11", (5, 6), "aa02"),
        "other ether type": f"{raw(mac(1))}{raw(mac(2))}88b5" + "bb" * 50,
        "honest": udp(mac(1), mac(2), "10.1.0.12", "10.1.0.11", (5, 6), "aaff"),
    }
    assert heard(listener, sender, frames, "honest") == set(frames)


async def test_ingress_is_closed_but_for_rules_and_replies_pass(machine: Host) -> None:
    server = machine.guest(port(1, rules=[ALLOW_OUT, allow_tcp(SERVED)]))
    client = machine.guest(port(2))
    await machine.apply(host([network(1)], [server.port, client.port]))
    server.configure("10.1.0.1")
    client.configure("10.1.0.1")
    server.start_probe("serve", str(SERVED))
    server.start_probe("serve", "23")
    client.start_probe("serve", str(SERVED))
    assert client.answers(server.address, SERVED) == "hello 10.1.0.12"
    assert not client.answers(server.address, 23)
    assert client.cannot_ping(server.address)
    assert not server.answers(client.address, SERVED), "the client has no rule at all"


async def test_remote_ranges_and_icmp(machine: Host) -> None:
    server = machine.guest(port(1, rules=[ALLOW_OUT, PING, allow_tcp(SERVED, "10.1.0.12/32", "10.1.0.8/29")]))
    friend, stranger = machine.guest(port(2)), machine.guest(port(20))
    await machine.apply(host([network(1)], [server.port, friend.port, stranger.port]))
    for guest in (server, friend, stranger):
        guest.configure()
    server.start_probe("serve", str(SERVED))
    assert friend.answers(server.address, SERVED)
    assert not stranger.answers(server.address, SERVED)
    assert stranger.pings(server.address)
    assert stranger.pings(server.address, size=4_000), "fragments are put together before they are judged"


async def test_egress_is_closed_without_rules(machine: Host) -> None:
    quiet = machine.guest(port(1, rules=[ANY_IN]))
    other = machine.guest(port(2, rules=[ALLOW_OUT, ANY_IN]))
    await machine.apply(host([network(1)], [quiet.port, other.port]))
    quiet.configure("10.1.0.1")
    other.configure("10.1.0.1")
    other.start_probe("serve", str(SERVED))
    quiet.start_probe("serve", str(SERVED))
    assert not quiet.answers(other.address, SERVED)
    assert quiet.cannot_ping("10.1.0.1")
    assert quiet.dhcp(machine.folder), "DHCP is not the group's to forbid"
    assert other.answers(quiet.address, SERVED), "replies are not egress"
    assert machine.space.answers(quiet.address, SERVED), "the operator's machine reaches its guests"


async def test_rule_taken_away_stops_what_runs(machine: Host) -> None:
    client = machine.guest(port(2))
    server = machine.guest(port(1, rules=[ALLOW_OUT, PING]))
    await machine.apply(host([network(1)], [server.port, client.port]))
    server.configure()
    client.configure()
    # One flow all the time: the same ICMP identifier.
    flow = ("ping", "-c1", "-W1", "-n", "-e", "77", server.address)
    assert client.run(*flow).returncode == 0
    await machine.apply(host([network(1)], [port(1), client.port]))
    assert client.run(*flow).returncode != 0
    await machine.apply(host([network(1)], [server.port, client.port]))
    assert client.run(*flow).returncode == 0


async def test_two_networks_with_equal_addresses_do_not_mix(machine: Host) -> None:
    """A connection allowed on one network must not open the same one on another (conntrack zones)."""
    nets = [network(number, strategy="flat", metadata_port=None) for number in (1, 2)]
    open_server = machine.guest(port(1, "10.0.0.1", net=1, rules=[ALLOW_OUT, ANY_IN]))
    open_client = machine.guest(port(2, "10.0.0.2", net=1))
    shut_server = machine.guest(port(3, "10.0.0.1", net=2))
    shut_client = machine.guest(port(4, "10.0.0.2", net=2, rules=[ALLOW_OUT]))
    guests = [open_server, open_client, shut_server, shut_client]
    await machine.apply(host(nets, [guest.port for guest in guests]))
    for guest in guests:
        guest.configure()
    there = {"request": udp(mac(1), mac(2), "10.0.0.2", "10.0.0.1", (5, 6), "aaff")}
    assert heard(open_server, open_client, there, "request")
    # Were the connections shared, this would be the answer to the request on the other network.
    back = {
        "answer": udp(mac(4), mac(3), "10.0.0.1", "10.0.0.2", (6, 5), "aaff"),
        "honest arp": arp(mac(3), mac(3), "10.0.0.1", "10.0.0.2"),
    }
    assert heard(shut_client, shut_server, back, "honest arp") == {"honest arp"}
    # And on its own network it is one.
    home = {"answer": udp(mac(2), mac(1), "10.0.0.1", "10.0.0.2", (6, 5), "aaff")}
    assert heard(open_client, open_server, home, "answer")


async def test_ipv6_is_filtered_like_ipv4(machine: Host) -> None:
    server = machine.guest(port(1, "10.1.0.11", "fd00::11", rules=[ALLOW_OUT, ALLOW_OUT6, ANY_IN6]))
    client = machine.guest(port(2, "10.1.0.12", "fd00::12", rules=[ALLOW_OUT, ALLOW_OUT6]))
    mute = machine.guest(port(3, rules=[ALLOW_OUT, ALLOW_OUT6, ANY_IN6]))
    await machine.apply(host([network(1)], [server.port, client.port, mute.port]))
    for guest in (server, client, mute):
        guest.configure()
    assert client.pings("fd00::11")
    assert server.cannot_ping("fd00::12"), "no ingress rule"
    client.ip("addr add fd00::66/64 dev eth0 nodad")
    assert client.run("ping", "-c1", "-W1", "-I", "fd00::66", "fd00::11").returncode != 0, "not its address"
    mute.ip("addr add fd00::13/64 dev eth0 nodad")
    assert mute.cannot_ping("fd00::11"), "a port without an IPv6 address speaks no IPv6"


async def test_foreign_rules_and_links_stay(machine: Host) -> None:
    space = machine.space
    space.ok("nft", "add table ip operator { chain keep { type filter hook input priority 5; accept; }; }")
    space.ip("link add br-operator type bridge")
    space.ip("link add brqforeign-00 type bridge")
    guest = machine.guest(port(1))
    before = space.ok("nft", "list", "table", "ip", "operator")
    await machine.apply(host([network(1)], [guest.port]))
    await machine.apply(host([], []))
    assert space.ok("nft", "list", "table", "ip", "operator") == before
    assert "fabric" not in space.ok("nft", "list", "tables")
    links = space.ip("-o link")
    assert "br-operator" in links
    assert "brqforeign-00" in links, "a name alike is not ours without our alias"
    assert bridge_name(network_id(1)) not in links
