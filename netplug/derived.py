"""Numbers and names that every host must derive alike, or that must not collide on one host."""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import blake2b
from ipaddress import IPv6Address
from typing import TypeVar

from proto.ids import NetworkId, PortId

METADATA_ADDRESS = "169.254.169.254"
HOSTNAME_CHARACTERS_MAX = 63  # RFC 1035, section 2.3.4
MARK_BITS = 31
Id = TypeVar("Id", bound=str)
ZONE_BITS = 16  # what the kernel's conntrack zones have; zone 0 is everyone else's


def gateway_mac(network_id: NetworkId) -> str:
    """The MAC of the network's gateway, the same on every host. Locally administered unicast."""
    digest = blake2b(network_id.encode(), digest_size=4, person=b"fabric-gw").digest()
    return ":".join(f"{octet:02x}" for octet in (0x0A, 0xFA, *digest))


def port_marks(port_ids: Iterable[PortId]) -> dict[PortId, int]:
    """A packet mark for each port, none zero, none twice. Nearly always independent of the other ports,
    so a frame in flight while the rules change meets its own port's rules."""
    return _distinct_numbers(port_ids, MARK_BITS, b"fabric-mark")


def conntrack_zones(network_ids: Iterable[NetworkId]) -> dict[NetworkId, int]:
    """A connection tracking zone for each network, so that equal addresses in two networks never share
    a connection. None is zero, none twice."""
    return _distinct_numbers(network_ids, ZONE_BITS, b"fabric-zone")


def _distinct_numbers(ids: Iterable[Id], bits: int, person: bytes) -> dict[Id, int]:
    numbers: dict[Id, int] = {}
    taken: set[int] = set()
    space = (1 << bits) - 1
    for identifier in sorted(set(ids)):
        assert len(taken) < space
        seed = int.from_bytes(blake2b(identifier.encode(), digest_size=8, person=person).digest())
        number = seed % space + 1
        while number in taken:
            number = number % space + 1
        taken.add(number)
        numbers[identifier] = number
    return numbers


def hostname_label(text: str, address: str) -> str:
    """`text` as one DNS label (RFC 1123); named after the address when nothing is left of it."""
    label = re.sub(r"[^a-z0-9-]+", "-", text.lower()).strip("-")[:HOSTNAME_CHARACTERS_MAX].strip("-")
    return label or "host-" + re.sub(r"[.:]+", "-", address).strip("-")


def link_local(mac: str) -> str:
    """The IPv6 link-local address of a MAC (RFC 4291, appendix A: modified EUI-64)."""
    octets = bytes(int(part, 16) for part in mac.split(":"))
    interface = bytes((octets[0] ^ 0x02, octets[1], octets[2], 0xFF, 0xFE, octets[3], octets[4], octets[5]))
    return str(IPv6Address(b"\xfe\x80" + bytes(6) + interface))
