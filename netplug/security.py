"""Security group rules as nftables match expressions. Pure.

A chain of a direction allows by `return` and ends in `drop`, so that a frame between two guests of one
host has to pass the sender's egress and then the receiver's ingress. Ports with equal rules share a chain.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network

from netplug.contract import RulePlan

# Names the Networking API takes, with IANA's numbers.
PROTOCOL_NUMBERS = {
    "icmp": 1,
    "igmp": 2,
    "ipip": 4,
    "tcp": 6,
    "egp": 8,
    "udp": 17,
    "dccp": 33,
    "ipv6": 41,
    "ipv6-encap": 41,
    "ipv6-route": 43,
    "ipv6-frag": 44,
    "rsvp": 46,
    "gre": 47,
    "esp": 50,
    "ah": 51,
    "icmpv6": 58,
    "ipv6-icmp": 58,
    "ipv6-nonxt": 59,
    "ipv6-opts": 60,
    "ospf": 89,
    "vrrp": 112,
    "pgm": 113,
    "sctp": 132,
    "udplite": 136,
}
ICMP, ICMPV6 = 1, 58
WITH_PORTS = frozenset({6, 17, 33, 132, 136})
NUMBER_MAX = {"port": 65_535, "icmp": 255, "protocol": 255}
REMOTE_SETS_MAX = 64  # remembered: one plan asks for each several times, and the next mostly for the same
DIRECTIONS = frozenset({"ingress", "egress"})
FAMILIES = {"IPv4": "ip", "IPv6": "ip6"}


@dataclass(slots=True)
class RuleChains:
    """The chains of one address family, by name. Filled while ports are laid out, then rendered."""

    family: str  # ip, ip6
    bodies: dict[str, tuple[str, ...]] = field(default_factory=dict)
    # Ports of one group mostly hold the very same tuple, and a rule may name thousands of addresses: found by
    # identity, and kept here, so that the identity stays its own.
    _names: dict[tuple[int, str], tuple[tuple[RulePlan, ...], str]] = field(default_factory=dict)

    def chain_for(self, rules: tuple[RulePlan, ...], direction: str) -> str:
        """The name of the chain that allows what these rules allow. Raises ValueError on a bad rule."""
        key = (id(rules), direction)
        if key not in self._names:
            self._names[key] = (rules, self._make(rules, direction))
        return self._names[key][1]

    def _make(self, rules: tuple[RulePlan, ...], direction: str) -> str:
        lines = rule_lines(rules, family=self.family, direction=direction)
        digest = blake2b("\n".join(lines).encode(), digest_size=6).hexdigest()
        name = f"{direction}_{digest}"
        self.bodies[name] = ("ct state invalid drop", *lines, "drop")
        return name


def rule_lines(rules: Iterable[RulePlan], *, family: str, direction: str) -> tuple[str, ...]:
    """Sorted, without repetition. A rule whose remote is nowhere allows nothing and gives no line.

    Raises:
        ValueError: a rule names an unknown direction, ether type, protocol, a bad port or a bad range.
    """
    lines = set()
    for rule in rules:
        _check(rule)
        if FAMILIES[rule.ethertype] != family or rule.direction != direction or rule.remote_cidrs == ():
            continue
        remotes = None if rule.remote_cidrs is None else remote_set(rule.remote_cidrs, family)
        if remotes == "":
            continue
        side = "saddr" if direction == "ingress" else "daddr"
        where = [] if remotes is None else [f"{family} {side} {{ {remotes} }}"]
        lines.add(" ".join([*_what(rule, family), *where, "return"]))
    return tuple(sorted(lines))


@lru_cache(maxsize=REMOTE_SETS_MAX)
def remote_set(cidrs: tuple[str, ...], family: str) -> str:
    """The ranges of this family as set elements, merged: nftables refuses overlaps."""
    if any("%" in cidr for cidr in cidrs):
        raise ValueError("a range of addresses has a scope id")
    ranges = [ip_network(cidr, strict=False) for cidr in cidrs]
    four = sorted(collapse_addresses(item for item in ranges if isinstance(item, IPv4Network)))
    six = sorted(collapse_addresses(item for item in ranges if isinstance(item, IPv6Network)))
    return ", ".join(str(item) for item in (four if family == "ip" else six))


def protocol_number(text: str, family: str) -> int:
    """Raises ValueError for an unknown name or a number above 255."""
    if text.isdecimal() and text.isascii() and len(text) <= 3:
        number = int(text)
    elif text in PROTOCOL_NUMBERS:
        number = PROTOCOL_NUMBERS[text]
    else:
        raise ValueError(f"unknown protocol {text[:32]!r}")
    if number > NUMBER_MAX["protocol"]:
        raise ValueError(f"protocol number {number} is above 255")
    return ICMPV6 if family == "ip6" and number == ICMP else number


def _check(rule: RulePlan) -> None:
    if rule.direction not in DIRECTIONS:
        raise ValueError(f"unknown rule direction {rule.direction[:32]!r}")
    if rule.ethertype not in FAMILIES:
        raise ValueError(f"unknown ether type {rule.ethertype[:32]!r}")


def _what(rule: RulePlan, family: str) -> list[str]:
    if rule.protocol is None or rule.protocol == "any":
        return []
    protocol = protocol_number(rule.protocol, family)
    words = [f"meta l4proto {protocol}"]
    low, high = rule.port_min, rule.port_max
    if protocol in (ICMP, ICMPV6):
        name = "icmp" if protocol == ICMP else "icmpv6"
        words += [f"{name} type {_number(low, 'icmp')}"] if low is not None else []
        words += [f"{name} code {_number(high, 'icmp')}"] if high is not None else []
    elif protocol in WITH_PORTS and (low is not None or high is not None):
        first = _number(low if low is not None else high, "port")
        last = _number(high if high is not None else low, "port")
        if first > last:
            raise ValueError(f"port range {first}-{last} is empty")
        words.append(f"th dport {first}" if first == last else f"th dport {first}-{last}")
    return words


def _number(value: int | None, kind: str) -> int:
    if value is None or not 0 <= value <= NUMBER_MAX[kind]:
        raise ValueError(f"{kind} number {value} is not within 0 and {NUMBER_MAX[kind]}")
    return value
