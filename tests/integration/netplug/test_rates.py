"""How fast a port really is. Each limit is a least time that no quick machine can undercut; how long the same
takes without one is what it is compared with, so a slow machine does not matter either."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest

from netplug.contract import PortPlan, RatePlan, shaper_name, tap_name
from tests.fixtures.network_beds import Guest
from tests.fixtures.network_plans import ALLOW_OUT, METADATA_PORT, allow_tcp, host, network, port, port_id
from tests.integration.netplug.conftest import Host

pytestmark = [pytest.mark.netns, pytest.mark.root]

PORT = 5_001
BYTES = 2_000_000
SLOW = RatePlan(average_kb_s=500)  # 4 s for all of them
LEAST_S = 3.5  # but for what is in the bucket at first, and a first segment that the clock does not see
TIMES = 4  # how many times as long it takes at least


class Pair:
    """Guest 1, whose port is limited, and guest 2, whose is not. Each has a sink."""

    def __init__(self, machine: Host) -> None:
        self.machine = machine
        ports = [port(number, rules=(ALLOW_OUT, allow_tcp(PORT))) for number in (1, 2)]
        self.guests = [machine.guest(each) for each in ports]
        self.plain = ports
        self._sinks: list[subprocess.Popen[str]] = []

    async def limit(self, **ways: RatePlan) -> None:
        first: PortPlan = replace(self.plain[0], **ways)
        await self.machine.apply(host([network(1)], [first, self.plain[1]]))
        if not self._sinks:
            for guest in self.guests:
                guest.configure("10.1.0.1")
            self._sinks = [guest.start_probe("sink", str(PORT)) for guest in self.guests]

    def outbound_s(self) -> float:
        return self._pour(self.guests[0], 1)

    def inbound_s(self) -> float:
        return self._pour(self.guests[1], 0)

    def _pour(self, source: Guest, sink: int) -> float:
        done = source.probe("pour", self.guests[sink].address, str(PORT), str(BYTES))
        assert done.returncode == 0, done.stderr
        said = self._sinks[sink].stdout
        assert said is not None
        count, seconds = said.readline().split()
        assert int(count) == BYTES
        return float(seconds)


@pytest.fixture
async def pair(machine: Host) -> Pair:
    return Pair(machine)


async def test_what_a_guest_sends_is_held_to_its_limit_and_what_it_gets_is_not(pair: Pair) -> None:
    await pair.limit(outbound=SLOW)
    limited = pair.outbound_s()
    assert limited > LEAST_S
    assert pair.inbound_s() * TIMES < limited
    await pair.limit()
    assert pair.outbound_s() * TIMES < limited


async def test_what_a_guest_gets_is_held_to_its_limit_and_what_it_sends_is_not(pair: Pair) -> None:
    await pair.limit(inbound=SLOW)
    limited = pair.inbound_s()
    assert limited > LEAST_S
    assert pair.outbound_s() * TIMES < limited
    await pair.limit()
    assert pair.inbound_s() * TIMES < limited


async def test_a_burst_goes_at_once_and_at_no_more_than_the_peak(pair: Pair) -> None:
    await pair.limit(outbound=replace(SLOW, burst_kb=4_096))
    at_once = pair.outbound_s()
    await pair.limit(outbound=replace(SLOW, burst_kb=4_096, peak_kb_s=1_000))
    at_peak = pair.outbound_s()
    assert at_once * 2 < at_peak
    assert at_peak > LEAST_S / 2


async def test_limits_do_not_loosen_the_filter(pair: Pair) -> None:
    """Frames that come by way of the ifb meet the same rules: DHCP, metadata, and no spoofing."""
    await pair.limit(outbound=SLOW, inbound=SLOW)
    guest, other = pair.guests
    pair.machine.space.start_probe("serve", str(METADATA_PORT))
    assert guest.dhcp(pair.machine.folder)["ip"] == guest.address
    assert guest.answers("169.254.169.254", 80) == f"hello {guest.address}"
    guest.ip("addr add 10.1.0.66/24 dev eth0")
    assert guest.run("ping", "-c1", "-W0.4", "-I", "10.1.0.66", other.address).returncode != 0


TAP, IFB = tap_name(port_id(1)), shaper_name(port_id(1))
BREAK = {
    "queue gone": f"tc qdisc del dev {TAP} root",
    "another queue": f"tc qdisc replace dev {TAP} root pfifo",
    "class changed": f"tc class change dev {TAP} parent fab0: classid fab0:1 htb rate 1gbit",
    "filters gone": f"tc qdisc del dev {TAP} ingress",
    "ifb gone": f"ip link del {IFB}",
    "ifb down": f"ip link set {IFB} down",
    "ifb without its queue": f"tc qdisc del dev {IFB} root",
    "filter that lets all through first": (
        f"tc filter add dev {TAP} parent ffff: prio 1 protocol all u32 match u32 0 0 flowid 1:1"
    ),
}


@pytest.mark.parametrize("how", BREAK)
async def test_what_another_hand_did_is_put_right(pair: Pair, how: str) -> None:
    await pair.limit(outbound=SLOW, inbound=SLOW)
    pair.machine.space.ok("sh", "-c", BREAK[how])
    await pair.limit(outbound=SLOW, inbound=SLOW)
    assert min(pair.outbound_s(), pair.inbound_s()) > LEAST_S
