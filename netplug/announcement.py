"""The words by which neighbours on a wire learn at once that an address is now elsewhere. Pure: bytes only.

Without them a neighbour goes on sending to the old place until its own entry for the address grows stale,
which takes from half a minute to hours.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

BROADCAST = b"\xff" * 6
ETHERTYPE_IPV4, ETHERTYPE_ARP = 0x0800, 0x0806
HARDWARE_ETHERNET = 1
ARP_REQUEST, ARP_REPLY = 1, 2
NEIGHBOUR_ADVERTISEMENT = 136
OVERRIDE = 0x2000_0000  # "this one replaces what you have"; neither a router nor an answer
TARGET_LINK_ADDRESS = 2  # an option, counted in units of eight bytes


def gratuitous_arp(address: IPv4Address, mac: bytes) -> tuple[bytes, bytes]:
    """Two Ethernet frames to everybody: the announcement as a request, and the same as a reply, for there are
    neighbours that heed only one of them.

    Source: RFC 5227, sections 1.1 (ARP Announcement) and 3 (why a request); RFC 826; RFC 5944, section 4.6
    (either form, and the reply's target hardware address is the sender's own).
    """
    return _arp(ARP_REQUEST, address, mac, b"\0" * 6), _arp(ARP_REPLY, address, mac, mac)


def _arp(operation: int, address: IPv4Address, mac: bytes, target_mac: bytes) -> bytes:
    assert len(mac) == len(target_mac) == 6
    ethernet = BROADCAST + mac + struct.pack("!H", ETHERTYPE_ARP)
    head = struct.pack("!HHBBH", HARDWARE_ETHERNET, ETHERTYPE_IPV4, 6, 4, operation)
    return ethernet + head + mac + address.packed + target_mac + address.packed


def unsolicited_advertisement(address: IPv6Address, mac: bytes) -> bytes:
    """An ICMPv6 message for ff02::1, to be sent from `address` with hop limit 255. Its checksum is zero: the
    kernel fills it in on a raw ICMPv6 socket (RFC 3542, section 3.1).

    Source: RFC 4861, sections 4.4 and 7.2.6.
    """
    assert len(mac) == 6
    head = struct.pack("!BBHI", NEIGHBOUR_ADVERTISEMENT, 0, 0, OVERRIDE)
    return head + address.packed + struct.pack("!BB", TARGET_LINK_ADDRESS, 1) + mac
