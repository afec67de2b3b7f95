"""Security group rules as match expressions."""

from __future__ import annotations

import pytest

from netplug.contract import RulePlan
from netplug.derived import conntrack_zones, link_local, port_marks
from netplug.security import RuleChains, remote_set, rule_lines
from proto.ids import NetworkId, PortId


def rule(
    protocol: str | None = None,
    low: int | None = None,
    high: int | None = None,
    remotes: tuple[str, ...] | None = None,
    *,
    ethertype: str = "IPv4",
    direction: str = "ingress",
) -> RulePlan:
    return RulePlan(
        direction=direction,
        ethertype=ethertype,
        protocol=protocol,
        port_min=low,
        port_max=high,
        remote_cidrs=remotes,
    )


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (rule(), "return"),
        (rule("any"), "return"),
        (rule("tcp", 22, 22), "meta l4proto 6 th dport 22 return"),
        (rule("6", 22, 22), "meta l4proto 6 th dport 22 return"),
        (rule("udp", 1, 65_535), "meta l4proto 17 th dport 1-65535 return"),
        (rule("sctp", 5, None), "meta l4proto 132 th dport 5 return"),
        (rule("icmp"), "meta l4proto 1 return"),
        (rule("icmp", 8), "meta l4proto 1 icmp type 8 return"),
        (rule("icmp", 3, 4), "meta l4proto 1 icmp type 3 icmp code 4 return"),
        (rule("vrrp"), "meta l4proto 112 return"),
        (rule("gre", 5, 5), "meta l4proto 47 return"),
        (rule(remotes=("10.0.0.0/8",)), "ip saddr { 10.0.0.0/8 } return"),
        (rule(remotes=("10.0.0.1/32", "10.0.0.0/31")), "ip saddr { 10.0.0.0/31 } return"),
        (rule(remotes=("10.0.0.5/8",)), "ip saddr { 10.0.0.0/8 } return"),
        (rule("tcp", 22, 22, ("10.0.0.9/32",)), "meta l4proto 6 th dport 22 ip saddr { 10.0.0.9/32 } return"),
    ],
)
def test_ingress_line(given: RulePlan, line: str) -> None:
    assert rule_lines([given], family="ip", direction="ingress") == (line,)


def test_egress_looks_at_the_destination() -> None:
    given = rule(direction="egress", remotes=("10.0.0.0/8",))
    assert rule_lines([given], family="ip", direction="egress") == ("ip daddr { 10.0.0.0/8 } return",)
    assert rule_lines([given], family="ip", direction="ingress") == ()


@pytest.mark.parametrize("remotes", [(), ("fd00::/8",)])
def test_remote_nowhere_allows_nothing(remotes: tuple[str, ...]) -> None:
    """A remote group without members (of this family) must not become "from anywhere"."""
    assert rule_lines([rule("tcp", 22, 22, remotes)], family="ip", direction="ingress") == ()


def test_ipv6_icmp_under_either_name() -> None:
    for name in ("icmp", "icmpv6", "ipv6-icmp", "58", "1"):
        given = rule(name, 128, ethertype="IPv6")
        lines = rule_lines([given], family="ip6", direction="ingress")
        assert lines == ("meta l4proto 58 icmpv6 type 128 return",)


def test_chain_names_follow_content() -> None:
    chains = RuleChains("ip")
    one = chains.chain_for([rule("tcp", 22, 22), rule("udp")], "ingress")
    assert chains.chain_for([rule("udp"), rule("tcp", 22, 22), rule("udp")], "ingress") == one
    assert chains.chain_for([rule("udp")], "ingress") != one
    assert chains.bodies[one][-1] == "drop"


def test_marks_and_zones_are_distinct_and_never_zero() -> None:
    marks = port_marks(PortId(f"port-{number}") for number in range(4_096))
    assert len(set(marks.values())) == 4_096
    assert all(0 < mark < 1 << 31 for mark in marks.values())
    zones = conntrack_zones(NetworkId(f"network-{number}") for number in range(1_024))
    assert len(set(zones.values())) == 1_024, "16 bits collide by chance here; the next free number is taken"
    assert all(0 < zone < 1 << 16 for zone in zones.values())


def test_link_local_address() -> None:
    assert link_local("fa:16:3e:00:00:01") == "fe80::f816:3eff:fe00:1"


def test_ports_of_one_group_share_the_making_of_its_chain() -> None:
    """A remote group names every other port: made anew for each, a host's plan would grow with the cube."""
    rules = (rule(remotes=tuple(f"10.0.{number // 250}.{number % 250}/32" for number in range(1_000))),)
    remote_set.cache_clear()
    chains = RuleChains("ip")
    assert len({chains.chain_for(rules, "ingress") for _ in range(500)}) == 1
    assert remote_set.cache_info().misses == 1
    assert remote_set.cache_info().hits == 0
    twin = (rules[0],)
    assert chains.chain_for(twin, "ingress") in chains.bodies
    assert len(chains.bodies) == 1
