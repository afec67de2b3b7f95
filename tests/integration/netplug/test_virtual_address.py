"""An address moves between two hosts on one wire, and a third machine on it follows at once."""

from __future__ import annotations

import sys
import time

import pytest

from tests.fixtures.network_beds import Bed, Namespace

pytestmark = [pytest.mark.netns, pytest.mark.root]

FOLLOW_S, FOLLOW_POLL_S = 5, 0.02  # a neighbour that was told nothing believes the old word for longer
ADDRESSES = ["10.0.0.100/24", "fd00::100/64"]


class Wire:
    """Two hosts and a client, each with eth0 on one bridge."""

    def __init__(self, bed: Bed) -> None:
        switch = bed.namespace()
        switch.ip("link add br0 type bridge forward_delay 0 stp_state 0")
        switch.ip("link set br0 up")
        self.one, self.two, self.client = (self._machine(bed, switch, number) for number in (1, 2, 3))

    def _machine(self, bed: Bed, switch: Namespace, number: int) -> Namespace:
        space = bed.namespace()
        bed.wire(switch, f"port{number}", space, "eth0")
        switch.ip(f"link set port{number} master br0")
        space.ip(f"addr add 10.0.0.{number}/24 dev eth0")
        space.ip(f"addr add fd00::{number}/64 dev eth0 nodad")
        return space

    def believed_mac(self, address: str) -> str:
        words = self.client.ip(f"neigh show {address} dev eth0").split()
        return words[words.index("lladdr") + 1] if "lladdr" in words else ""


def plug(space: Namespace, address: str, *verbs: str, without: str = "") -> list[str]:
    drop = ["setpriv", f"--bounding-set=-{without}", f"--inh-caps=-{without}"] if without else []
    module = [sys.executable, "-m", "tests.fixtures.address_process"]
    return space.ok(*drop, *module, address, *verbs).splitlines()


def mac(space: Namespace) -> str:
    return space.ip("-o link show eth0").split("link/ether ")[1].split()[0]


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_neighbour_follows_as_soon_as_it_is_told(bed: Bed, address: str) -> None:
    wire, host = Wire(bed), address.split("/")[0]
    before = [space.ip("-o addr show scope global") for space in (wire.one, wire.two)]
    assert plug(wire.one, address, "ensure", "ensure", "announce") == ["True", "False", "None"]
    assert wire.client.pings(host)
    assert wire.believed_mac(host) == mac(wire.one)

    assert plug(wire.one, address, "remove", "is_present", "remove") == ["True", "False", "False"]
    assert plug(wire.two, address, "ensure", "is_present") == ["True", "True"]
    assert wire.believed_mac(host) == mac(wire.one), "it moved before it was told: this shows nothing"
    plug(wire.two, address, "announce")
    deadline = time.monotonic() + FOLLOW_S
    while wire.believed_mac(host) != mac(wire.two):
        assert time.monotonic() < deadline, wire.client.ip("neigh show")
        time.sleep(FOLLOW_POLL_S)
    assert wire.client.pings(host)

    plug(wire.two, address, "remove")
    assert [space.ip("-o addr show scope global") for space in (wire.one, wire.two)] == before


def test_only_ours_is_removed_and_anothers_is_never_taken_over(bed: Bed) -> None:
    wire, address = Wire(bed), ADDRESSES[0]
    wire.one.ip(f"addr add {address} dev eth0")
    (said,) = plug(wire.one, address, "ensure")
    assert "not by us" in said
    assert plug(wire.one, address, "remove") == ["False"]
    assert "10.0.0.100/24" in wire.one.ip("-o addr show")


def test_one_left_under_an_earlier_configuration_goes_too(bed: Bed) -> None:
    wire = Wire(bed)
    plug(wire.one, "10.0.0.99/24", "ensure")
    assert plug(wire.one, ADDRESSES[0], "ensure") == ["True"]
    shown = wire.one.ip("-o addr show")
    assert "10.0.0.100/24" in shown
    assert "10.0.0.99/24" not in shown


def test_what_it_may_not_do_is_said(bed: Bed) -> None:
    wire, address = Wire(bed), ADDRESSES[0]
    (said,) = plug(wire.one, address, "ensure", without="net_admin")
    assert "CAP_NET_ADMIN" in said
    answers = plug(wire.one, address, "ensure", "announce", without="net_raw")
    assert answers[0] == "True"
    assert "CAP_NET_RAW" in answers[1]
