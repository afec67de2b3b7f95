"""The bytes on the wire, as the RFCs draw them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from netplug.announcement import gratuitous_arp, unsolicited_advertisement

MAC = bytes.fromhex("020000000a01")


def test_an_arp_announcement_comes_as_request_and_as_reply() -> None:
    request, reply = gratuitous_arp(IPv4Address("10.0.0.100"), MAC)
    ethernet = "ffffffffffff020000000a010806"
    assert request.hex() == ethernet + "0001080006040001020000000a010a0000640000000000000a000064"
    assert reply.hex() == ethernet + "0001080006040002020000000a010a000064020000000a010a000064"


def test_an_unsolicited_advertisement_overrides() -> None:
    message = unsolicited_advertisement(IPv6Address("fd00::100"), MAC)
    assert message.hex() == "8800000020000000fd0000000000000000000000000001000201020000000a01"
