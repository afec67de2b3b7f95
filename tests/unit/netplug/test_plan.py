"""The pure plan: golden files for the whole, tables for its parts.

After a meant change: FABRIC_REWRITE_GOLDEN=1, then read the diff.
"""

from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path

import pytest

from netplug.contract import HostPlan, NetworkPlan, RatePlan, RulePlan, SubnetPlan
from netplug.desired import DesiredState, HostFacts, UplinkFact
from netplug.plan import desired_state
from netplug.rates import Buckets, buckets
from tests.fixtures.network_plans import ALLOW_OUT, allow_tcp, host, network, port, subnet

GOLDEN = Path(__file__).parents[2] / "golden/netplug"
UPLINK = UplinkFact(physical_network="phy0", device="eth1", mtu=1_500)
RULES = (
    ALLOW_OUT,
    RulePlan(direction="egress", ethertype="IPv6"),
    allow_tcp(22),
    RulePlan(direction="ingress", ethertype="IPv4", protocol="icmp", port_min=8, port_max=0),
    RulePlan(direction="ingress", ethertype="IPv4", protocol="udp", port_min=5_000, port_max=6_000),
    RulePlan(direction="ingress", ethertype="IPv4", remote_cidrs=("10.1.0.12/32", "10.1.0.13/32")),
    RulePlan(direction="ingress", ethertype="IPv6", remote_cidrs=()),
)

SLOW = RatePlan(average_kb_s=1_000, peak_kb_s=2_000, burst_kb=64)
PLANS: dict[str, HostPlan] = {
    "one_guest": host([network(1)], [port(1)]),
    "rules_and_ipv6": host(
        [network(1)], [port(1, "10.1.0.11", "fd00::11", rules=RULES), port(2, port_security=False)]
    ),
    "limited": host([network(1)], [port(1, inbound=SLOW, outbound=RatePlan(average_kb_s=500)), port(2)]),
    "uplink": host([network(1, physical="phy0")], [port(1), port(2)]),
    "flat_on_uplink": host([network(1, physical="phy0", strategy="flat", metadata_port=None)], [port(1)]),
    "without_gateway": host([network(1, subnet("10.1.0.0/24"))], [port(1)]),
    "two_networks": host([network(1), network(2, metadata_port=9_002)], [port(1), port(2, net=2)]),
    "two_subnets": host(
        [
            network(
                1,
                SubnetPlan(
                    cidr="10.1.0.0/24",
                    gateway_ip="10.1.0.1",
                    enable_dhcp=True,
                    dns_nameservers=("192.0.2.53", "2001:db8::53"),
                    host_routes=(("198.51.100.0/24", "10.1.0.9"),),
                ),
                subnet("10.7.0.0/24", "10.7.0.1", dhcp=False),
            )
        ],
        [port(1, hostname="Web_1.Example"), port(2, "10.7.0.5")],
    ),
}


def planned(plan: HostPlan) -> DesiredState:
    return desired_state(plan, HostFacts(uplinks=(UPLINK,)))


def rendered(state: DesiredState) -> str:
    parts = [repr(item) for item in (*state.bridges, *state.taps, *state.sysctls)]
    for service in state.dhcp:
        parts += [f"--- dnsmasq {service.bridge}", service.config, "--- hosts", service.hosts]
    return "\n".join([*parts, "--- nftables", state.ruleset])


@pytest.mark.parametrize("name", PLANS)
def test_golden(name: str) -> None:
    path = GOLDEN / f"{name}.txt"
    text = rendered(planned(PLANS[name]))
    if os.environ.get("FABRIC_REWRITE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("name", PLANS)
def test_order_of_the_plan_does_not_matter(name: str) -> None:
    plan = PLANS[name]
    ports = [replace(entry, rules=entry.rules[::-1]) for entry in plan.ports]
    networks = list(plan.networks)
    for seed in range(5):
        shuffler = random.Random(seed)
        shuffler.shuffle(ports)
        shuffler.shuffle(networks)
        assert planned(HostPlan(networks=tuple(networks), ports=tuple(ports))) == planned(plan)


def test_ports_with_equal_rules_share_chains() -> None:
    ruleset = planned(host([network(1)], [port(number) for number in range(1, 51)])).ruleset
    assert ruleset.count("chain ingress_") == 2  # IPv4 and IPv6
    other = planned(host([network(1)], [port(1), port(2, rules=[ALLOW_OUT, allow_tcp(22)])])).ruleset
    assert other.count("chain ingress_") == 3


def test_gateway_is_the_same_on_every_host() -> None:
    one = planned(host([network(1), network(2)], [port(1), port(2, net=2)])).bridges[0]
    two = planned(host([network(1)], [port(9)])).bridges[0]
    assert (one.mac, one.addresses) == (two.mac, two.addresses)
    assert int(one.mac[:2], 16) & 3 == 2, "locally administered, unicast"


def test_mark_of_a_port_does_not_depend_on_its_neighbours() -> None:
    def mark(state: DesiredState) -> str:
        lines = (line.strip() for line in state.ruleset.splitlines())
        return next(line for line in lines if line.startswith('"tap00000001') and " : 0x" in line)

    alone = planned(host([network(1)], [port(1)]))
    crowded = planned(host([network(1)], [port(number) for number in range(1, 200)]))
    assert mark(alone) == mark(crowded)


@pytest.mark.parametrize(
    "hostname", ["web\n10.0.0.1,evil", "a,b", "x" * 200, "", "---", "Ünïcode", "tab\there", "#comment"]
)
def test_hostname_cannot_leave_its_field(hostname: str) -> None:
    plan = host([network(1)], [replace(port(1), hostname=hostname)])
    lines = planned(plan).dhcp[0].hosts.splitlines()
    assert len(lines) == 1
    mac, address, label = lines[0].split(",")
    assert (mac, address) == ("fa:16:3e:00:00:01", "10.1.0.11")
    assert 1 <= len(label) <= 63
    assert set(label) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"mac": "FA:16:3E:00:00:01"}, "unicast MAC"),
        ({"mac": "01:00:5e:00:00:01"}, "unicast MAC"),
        ({"mac": 'fa:16:3e:00:00:01" }; drop'}, "unicast MAC"),
        ({"addresses": ("10.1.0.300",)}, "10.1.0.300"),
        ({"addresses": ("fe80::1%\n}",)}, "scope id"),
        ({"addresses": ("FD00::1",)}, "not a guest's address"),
        ({"addresses": ("224.0.0.1",)}, "not a guest's address"),
        ({"addresses": ("169.254.169.254",)}, "is taken"),
        ({"addresses": ("10.1.0.1",)}, "is taken"),
        ({"rules": (replace(ALLOW_OUT, protocol="tcp } drop"),)}, "unknown protocol"),
        ({"rules": (replace(ALLOW_OUT, protocol="256"),)}, "above 255"),
        ({"rules": (replace(ALLOW_OUT, direction="sideways"),)}, "direction"),
        ({"rules": (replace(ALLOW_OUT, ethertype="ARP"),)}, "ether type"),
        ({"rules": (replace(ALLOW_OUT, protocol="tcp", port_min=9, port_max=8),)}, "is empty"),
        ({"rules": (replace(ALLOW_OUT, protocol="tcp", port_min=1, port_max=65_536),)}, "65536"),
        ({"rules": (replace(ALLOW_OUT, remote_cidrs=("any",)),)}, "any"),
        ({"rules": (ALLOW_OUT,) * 1_001}, "at most"),
    ],
)
def test_bad_port_is_refused_and_reaches_no_rule(change: dict[str, object], reason: str) -> None:
    bad = replace(port(1), **change)  # type: ignore[arg-type]
    state = planned(host([network(1)], [bad, port(2)]))
    assert [entry.port_id for entry in state.refused] == [bad.port_id]
    assert reason in state.refused[0].reason
    assert state == replace(
        planned(host([network(1)], [port(2)])), refused=state.refused, cut_off=state.cut_off
    )
    assert state.cut_off == {"tap" + bad.port_id[:11]}


def test_refused_network_id_cannot_name_a_file() -> None:
    bad = replace(network(1), network_id="../../etc/x")
    state = planned(HostPlan(networks=(bad,), ports=(replace(port(1), network_id=bad.network_id),)))
    assert not state.bridges
    assert "not a network id" in state.refused[0].reason


def test_without_bridge_filter_only_unfiltered_ports_are_wired() -> None:
    """Fail closed: a stateless filter cannot tell a reply from an attack."""
    plan = host([network(1)], [port(1), port(2, port_security=False)])
    state = desired_state(plan, HostFacts(can_filter=False))
    assert [entry.port_id for entry in state.refused] == [port(1).port_id]
    assert "br_netfilter" in state.refused[0].reason
    assert [entry.port_id for entry in state.plugged] == [port(2).port_id]


@pytest.mark.parametrize(
    ("fact", "reason"),
    [
        (replace(UPLINK, mtu=None), "does not exist"),
        (replace(UPLINK, mtu=1_400), "below the network's"),
        (replace(UPLINK, addresses=("192.0.2.1/24",)), "has the address"),
        (replace(UPLINK, holder="br0"), "not ours"),
    ],
)
def test_unfit_uplink(fact: UplinkFact, reason: str) -> None:
    state = desired_state(PLANS["uplink"], HostFacts(uplinks=(fact,)))
    assert not state.bridges
    assert all(reason in entry.reason for entry in state.refused)


def test_subnets_of_different_networks_may_overlap_where_the_host_serves_neither() -> None:
    def flat(number: int) -> NetworkPlan:
        return network(number, subnet("10.0.0.0/24", "10.0.0.1"), strategy="flat", metadata_port=None)

    plan = host([flat(1), flat(2)], [port(1, "10.0.0.5"), port(2, "10.0.0.5", net=2)])
    assert not planned(plan).refused
    served = [replace(entry, strategy="flat_dhcp") for entry in plan.networks]
    state = planned(HostPlan(networks=tuple(served), ports=plan.ports))
    assert [entry.port_id for entry in state.refused] == [port(2).port_id]


def test_ports_of_neighbouring_hosts_are_closed_to_guests() -> None:
    facts = HostFacts(
        uplinks=(UPLINK,),
        host_prefixes=("192.0.2.1/24", "192.0.2.9/24", "2001:db8::1/64"),
        closed_ports=(7_401, 7_400),
    )
    ruleset = desired_state(PLANS["two_networks"], facts).ruleset
    closed = [line.strip() for line in ruleset.splitlines() if "7400" in line]
    assert closed == [
        "iifname @bridges oifname != @bridges ip daddr 192.0.2.0/24 tcp dport { 7400, 7401 } drop"
    ]
    before = ruleset[: ruleset.index(closed[0])].rpartition("chain ")[2]
    assert before.startswith("forward {")
    assert "accept" not in before.replace("iifname != @bridges oifname != @bridges accept", "").replace(
        "policy accept", ""
    )


@pytest.mark.parametrize(
    "rate",
    [
        RatePlan(average_kb_s=0),
        RatePlan(average_kb_s=4_000_001),
        RatePlan(average_kb_s=2, peak_kb_s=1),
        RatePlan(average_kb_s=1, burst_kb=-1),
    ],
)
def test_a_port_with_a_rate_that_no_kernel_keeps_is_refused_alone(rate: RatePlan) -> None:
    state = planned(host([network(1)], [port(1, outbound=rate), port(2)]))
    assert [entry.port_id for entry in state.refused] == [port(1).port_id]
    assert [tap.port_id for tap in state.taps] == [port(2).port_id]


def test_where_the_kernel_cannot_shape_a_limited_port_is_refused_and_says_why() -> None:
    facts = HostFacts(no_shaping="no ifb")
    state = desired_state(host([network(1)], [port(1, inbound=SLOW), port(2)]), facts)
    assert [(entry.port_id, entry.reason) for entry in state.refused] == [(port(1).port_id, "no ifb")]
    assert [tap.port_id for tap in state.taps] == [port(2).port_id]


def test_rates_in_the_terms_of_the_kernel() -> None:
    assert buckets(SLOW, 1_450) == Buckets(
        rate=1_000_000, burst=64 * 1_024, ceil=2_000_000, ceil_burst=20_000
    )
    slow = buckets(RatePlan(average_kb_s=1), 1_450)
    assert (slow.rate, slow.burst, slow.ceil, slow.ceil_burst) == (1_000, 2_936, 1_000, 2_936)
    at_once = buckets(RatePlan(average_kb_s=10, burst_kb=1_000), 1_450)
    assert at_once.burst == at_once.ceil_burst == 1_024_000
    assert buckets(RatePlan(average_kb_s=10, burst_kb=1 << 32), 1_450).burst == 2_500_000  # 250 s
