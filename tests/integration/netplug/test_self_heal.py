"""Whatever someone else breaks, the next apply repairs; an agent's death breaks nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from netplug.contract import bridge_name, tap_name
from tests.fixtures.network_beds import Guest, Namespace
from tests.fixtures.network_plans import METADATA_PORT, host, network, network_id, port, port_id
from tests.integration.netplug.conftest import Host

pytestmark = [pytest.mark.netns, pytest.mark.root]

BRIDGE = bridge_name(network_id(1))
TAP = tap_name(port_id(1))


async def works(machine: Host, guest: Guest) -> None:
    assert guest.dhcp(machine.folder)["ip"] == guest.address
    assert guest.pings("10.1.0.1")
    assert guest.answers("169.254.169.254", 80) == f"hello {guest.address}"
    assert guest.run("ping", "-c1", "-W0.4", "-I", "10.1.0.66", "10.1.0.1").returncode != 0, "spoofing"


@pytest.fixture
async def guest(machine: Host) -> Guest:
    guest = machine.guest(port(1))
    await machine.apply(host([network(1)], [guest.port]))
    guest.configure("10.1.0.1")
    guest.ip("addr add 10.1.0.66/24 dev eth0")
    machine.space.start_probe("serve", str(METADATA_PORT))
    await works(machine, guest)
    return guest


BREAK: dict[str, Callable[[Namespace], object]] = {
    "rules flushed": lambda space: space.ok("nft", "flush ruleset"),
    "one table gone": lambda space: space.ok("nft", "delete table bridge fabric"),
    "chain emptied": lambda space: space.ok("nft", "flush chain bridge fabric ip_from_guest"),
    "set element gone": lambda space: space.ok(
        "nft", f'delete element ip fabric gateways {{ "{BRIDGE}" . 10.1.0.1 }}'
    ),
    "hostile rule": lambda space: space.ok("nft", "insert rule ip fabric input drop"),
    "bridge deleted": lambda space: space.ip(f"link del {BRIDGE}"),
    "bridge down": lambda space: space.ip(f"link set {BRIDGE} down"),
    "address gone": lambda space: space.ip(f"addr flush dev {BRIDGE}"),
    "bridge MAC changed": lambda space: space.ip(f"link set {BRIDGE} address 02:00:00:00:00:01"),
    "filter of the bridge off": lambda space: space.ip(f"link set {BRIDGE} type bridge nf_call_iptables 0"),
    "tap out of the bridge": lambda space: space.ip(f"link set {TAP} nomaster"),
    "tap down": lambda space: space.ip(f"link set {TAP} down"),
    "mtu changed": lambda space: space.ip(f"link set {TAP} mtu 1000"),
    "alias gone": lambda space: space.ip(f"link set {BRIDGE} alias x"),
    "forwarding off": lambda space: space.ok("sysctl", "-qw", "net.ipv4.ip_forward=0"),
    "sysctl of the bridge": lambda space: space.ok("sysctl", "-qw", f"net/ipv4/conf/{BRIDGE}/arp_ignore=0"),
}  # fmt: skip


@pytest.mark.parametrize("what", BREAK)
async def test_broken_by_others_repaired_by_apply(machine: Host, guest: Guest, what: str) -> None:
    plan = host([network(1)], [guest.port])
    writes = await machine.plug.writes()
    BREAK[what](machine.space)
    await machine.apply(plan)
    assert await machine.plug.writes() > writes, "the damage was seen"
    await works(machine, guest)
    writes = await machine.plug.writes()
    await machine.apply(plan)
    assert await machine.plug.writes() == writes, "and repaired once"


@pytest.mark.parametrize("suffix", [".conf", ".hosts", ".pid", ".leases"])
async def test_lost_file_of_the_dhcp_server(machine: Host, guest: Guest, suffix: str) -> None:
    (machine.folder / "plug/dnsmasq" / (BRIDGE + suffix)).unlink()
    await machine.apply(host([network(1)], [guest.port]))
    await works(machine, guest)
    assert len((await machine.plug.leftovers()).dnsmasq_pids) == 1


async def test_killed_dhcp_server_comes_back(machine: Host, guest: Guest) -> None:
    before = (await machine.plug.leftovers()).dnsmasq_pids
    handle = os.pidfd_open(before[0])
    signal.pidfd_send_signal(handle, signal.SIGKILL)
    os.close(handle)
    await machine.apply(host([network(1)], [guest.port]))
    after = (await machine.plug.leftovers()).dnsmasq_pids
    assert len(after) == 1
    assert after != before
    await works(machine, guest)


async def test_reload_interrupted_by_a_crash_is_made_up_for(machine: Host, guest: Guest) -> None:
    """The hosts file was written, the server never told: the mark of the reload is still there."""
    folder = machine.folder / "plug/dnsmasq"
    second = machine.guest(port(2))
    hosts = folder / f"{BRIDGE}.hosts"
    hosts.write_text(hosts.read_text() + f"{second.port.mac},{second.address},guest-2\n")
    (folder / f"{BRIDGE}.reload").touch()
    await machine.apply(host([network(1)], [guest.port, second.port]))
    assert second.dhcp(machine.folder)["ip"] == second.address


async def test_agent_killed_guest_served_on_and_adopted(machine: Host, guest: Guest) -> None:
    pids = (await machine.plug.leftovers()).dnsmasq_pids
    await machine.plug.kill()
    await works(machine, guest)
    machine.plug = machine.bed.plug(machine.space)
    await machine.plug.open()
    await machine.apply(host([network(1)], [guest.port]))
    assert await machine.plug.writes() == 0
    assert (await machine.plug.leftovers()).dnsmasq_pids == pids
    await works(machine, guest)


async def test_taps_are_made_and_drafts_of_a_crash_removed(machine: Host) -> None:
    machine.space.ip("link add fabnew0000-411 type bridge")
    machine.space.ip("tuntap add dev fabnew-0000-41 mode tap")
    await machine.apply(host([network(1)], [port(1)]))
    links = machine.space.ip("-d -o link")
    assert "fabnew" not in links
    tap = next(line for line in links.splitlines() if TAP in line)
    assert "tun type tap" in tap
    assert f"master {BRIDGE}" in tap
    assert "mtu 1450" in tap
    assert f"fabric:{port_id(1)}" in machine.space.ip(f"link show {TAP}")


async def test_ports_that_stay_are_not_disturbed(machine: Host, guest: Guest, tmp_path: Path) -> None:
    """A guest pings its gateway all the time while neighbours come and go: nothing is lost."""
    pinging = guest.start(["sh", "-c", "echo ready; exec ping -n -i 0.02 -c 150 10.1.0.1"])
    for round_number in range(4):
        others = [port(10 + index) for index in range(round_number % 2 * 3)]
        await machine.apply(host([network(1)], [guest.port, *others]))
    text, _ = pinging.communicate(timeout=30)
    assert " 150 received" in text, text
