"""Two hosts share a wire: their guests meet on it, their gateways, DHCP servers and metadata do not."""

from __future__ import annotations

import pytest

from netplug.contract import PortsRefusedError, bridge_name
from tests.fixtures.network_plans import ALLOW_OUT, METADATA_PORT, allow_tcp, host, network, network_id, port
from tests.integration.netplug.conftest import Host

pytestmark = [pytest.mark.netns, pytest.mark.root]

NET = network(1, physical="phy0")


async def test_guests_of_two_hosts_talk_under_their_groups(pair: tuple[Host, Host]) -> None:
    near, far = pair
    one = near.guest(port(1, rules=[ALLOW_OUT, allow_tcp(22)]))
    two = far.guest(port(2))
    await near.apply(host([NET], [one.port]))
    await far.apply(host([NET], [two.port]))
    one.configure("10.1.0.1")
    two.configure("10.1.0.1")
    one.start_probe("serve", "22")
    two.start_probe("serve", "22")
    assert two.answers(one.address, 22) == "hello 10.1.0.12"
    assert not one.answers(two.address, 22)
    assert two.cannot_ping(one.address)


async def test_each_guest_is_served_by_its_own_host(pair: tuple[Host, Host]) -> None:
    near, far = pair
    one, two = near.guest(port(1)), far.guest(port(2))
    await near.apply(host([NET], [one.port]))
    await far.apply(host([NET], [two.port]))
    for space in (near.space, far.space):
        space.start_probe("serve", str(METADATA_PORT))
    assert one.dhcp(near.folder)["ip"] == one.address
    assert two.dhcp(far.folder)["ip"] == two.address
    for guest, home in ((one, near), (two, far)):
        guest.configure("10.1.0.1")
        assert guest.pings("10.1.0.1")
        assert guest.answers("169.254.169.254", 80) == f"hello {guest.address}"
        assert home.space.pings(guest.address)
    # The far host's gateway is out of reach even when the near one is silent.
    near.space.ip(f"addr flush dev {bridge_name(network_id(1))}")
    one.ip("neigh flush dev eth0")
    two.ip("neigh flush dev eth0")
    assert one.cannot_ping("10.1.0.1")
    assert two.pings("10.1.0.1")
    neighbour = f"neigh replace 10.1.0.1 lladdr {_gateway_mac(far)} dev eth0"
    one.ip(neighbour)
    assert one.cannot_ping("10.1.0.1")


def _gateway_mac(machine: Host) -> str:
    shown = machine.space.ip(f"-o link show {bridge_name(network_id(1))}")
    return shown.split("link/ether ")[1].split()[0]


async def test_nothing_of_the_host_itself_is_on_the_wire(pair: tuple[Host, Host]) -> None:
    near, far = pair
    one = near.guest(port(1))
    await near.apply(host([NET], [one.port]))
    one.configure("10.1.0.1")
    gateway_mac = _gateway_mac(near).replace(":", "")
    wire = far.space.start_probe("hear", "eth1", "0a01004d")  # the guest asks for 10.1.0.77
    near.space.pings("10.1.0.99")
    assert one.dhcp(near.folder)["serverid"] == "10.1.0.1"
    assert one.pings("10.1.0.1")
    one.pings("10.1.0.77")
    text, _ = wire.communicate(timeout=30)
    assert wire.returncode == 0, "the guest's own frames do cross"
    frames = text.split()
    assert frames
    assert not [frame for frame in frames if gateway_mac in frame[:24]]
    assert not [frame for frame in frames if "0a010001" in frame], "no frame names the gateway"


async def test_flat_network_leaves_dhcp_to_others(pair: tuple[Host, Host]) -> None:
    """The far host plays the physical network with its own DHCP server."""
    near, far = pair
    flat = network(1, physical="phy0", strategy="flat", metadata_port=None)
    one = near.guest(port(1))
    await near.apply(host([flat], [one.port]))
    assert not (await near.plug.leftovers()).dnsmasq_pids
    far.space.ip("addr add 10.1.0.1/24 dev eth1")
    server = far.space.start(
        ["sh", "-c", "echo ready; exec dnsmasq --keep-in-foreground --conf-file=/dev/null --port=0 "
         "--interface=eth1 --bind-interfaces --dhcp-range=10.1.0.11,10.1.0.11 --leasefile-ro --user=root "
         f"--pid-file={far.folder}/outside.pid"]
    )  # fmt: skip
    assert one.dhcp(near.folder)["ip"] == "10.1.0.11"
    one.configure("10.1.0.1")
    assert one.pings("10.1.0.1")
    assert near.space.ip("-4 -o addr show scope global") == ""
    server.kill()


async def test_uplink_with_addresses_is_refused(pair: tuple[Host, Host]) -> None:
    near, _ = pair
    near.space.ip("addr add 192.0.2.7/24 dev eth1")
    with pytest.raises(PortsRefusedError, match=r"uplink eth1 has the address 192\.0\.2\.7/24"):
        await near.apply(host([NET], [port(1)]))
    assert "192.0.2.7/24" in near.space.ip("-o addr show eth1")
