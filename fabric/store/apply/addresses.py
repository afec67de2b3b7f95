"""Addresses and ranges as values. Canonical text, so that one address has one spelling and one row."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

from fabric.store.apply.context import reject

CIDRS_MAX = 1_024  # remembered: most ports of a group are in few subnets

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@lru_cache(CIDRS_MAX)
def parse_cidr(text: str) -> Network:
    """Rejects `invalid`; host bits must be zero."""
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        reject("invalid", f"'{text}' is not a valid IP subnet.")


def parse_address(text: str) -> Address:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        reject("invalid", f"'{text}' is not a valid IP address.")


def address_in(text: str, subnet: Network, what: str) -> Address:
    """Rejects `invalid` when it is malformed or outside the subnet. `what` names the field."""
    address = parse_address(text)
    need_in(address, subnet, what)
    return address


def need_in(address: Address, subnet: Network, what: str) -> None:
    """Rejects `invalid`. `what` names the field."""
    if address not in subnet:
        reject("invalid", f"{what} {address} is not in the subnet {subnet}.")


def overlaps(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)
